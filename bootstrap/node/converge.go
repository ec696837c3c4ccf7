package node

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
)

// StateDir is where a host keeps the journal and the lock.
const StateDir = "/var/lib/slipway"

// Lock keeps two runs on this host apart; the kernel gives the lock back when the process dies. The fault is
// converge-running.
func Lock() (*flock.Lock, error) { return named(flock.Try(lockFile(), flock.Exclusive)) }

func lockFile() string { return filepath.Join(StateDir, "lock") }

func named(held *flock.Lock, err error) (*flock.Lock, error) {
	if errors.Is(err, flock.ErrHeld) {
		return nil, fault.New("converge-running", "change this host", err,
			"wait until the other run has ended, then run the same command again")
	}
	return held, err
}

// lastTime is enough for a run to end that was told to.
const lastTime = 20 * time.Second

// lockAfter waits for an earlier run to end. Its caller was killed, or there would be no other one; it was told to end then, and
// does so after what it is at.
func lockAfter(ctx context.Context) (*flock.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, lastTime)
	defer cancel()
	return named(flock.Wait(ctx, lockFile(), flock.Exclusive))
}

// Converge makes this host the node of spec, or completes what an earlier run began. The faults are those of the steps
// and of Lock.
func Converge(ctx context.Context, spec *bootstrap.NodeSpec, report engine.Report) error {
	held, err := lockAfter(ctx)
	if err != nil {
		return err
	}
	defer held.Unlock()
	steps, err := Prepare(ctx, spec)
	if err != nil {
		return err
	}
	return engine.Run(ctx, spec.Node.Name, steps, report)
}

// Prepare gives the steps that make this host the node of spec. The lock must be held while they run.
func Prepare(ctx context.Context, spec *bootstrap.NodeSpec) ([]engine.Step, error) {
	journal, err := openJournal()
	if err != nil {
		return nil, err
	}
	b, err := images.Open(spec.Bundle)
	if err != nil {
		return nil, err
	}
	return Steps(ctx, spec, engine.NewHost(journal), b)
}

func openJournal() (*engine.Journal, error) {
	return engine.OpenJournal(filepath.Join(StateDir, "journal.jsonl"))
}

// Undo takes back all that the steps did on this host; spec, which is nil when it is not known, says which those were. The
// bundle is not needed. The lock must be held.
func Undo(ctx context.Context, spec *bootstrap.NodeSpec, report engine.Report) error {
	journal, err := openJournal()
	if err != nil {
		return err
	}
	if spec == nil {
		spec = &bootstrap.NodeSpec{}
	}
	own := *spec
	n := &builder{NodeSpec: &own, host: engine.NewHost(journal), refs: map[string]string{}}
	own.Node.Runtime = nil // what was done counts, not what was to be
	if err := n.noted(notedRuntime, &own.Node.Runtime); err != nil {
		return err
	}
	return engine.Undo(ctx, spec.Node.Name, n.steps(), journal, report)
}

// HasJournal tells whether anything on this host has been changed and not been taken back.
func HasJournal() (bool, error) {
	j, err := openJournal()
	if err != nil {
		return false, err
	}
	return len(j.Entries()) > 0, nil
}

// Begun tells whether a run of steps has come so far on this host that what becomes of a containerd which was there is decided.
func Begun() (bool, error) {
	j, err := openJournal()
	if err != nil {
		return false, err
	}
	return len(engine.NewHost(j).Unclaimed(kubeletDir)) == 0, nil
}

// Claim records directories that are going to be filled outside of a run of steps. The lock must be held.
func Claim(step string, dirs ...string) error {
	journal, err := openJournal()
	if err != nil {
		return err
	}
	return engine.NewHost(journal).Claim(step, dirs...)
}

// WriteFiles writes files on this host by the journal, outside of a run of steps. The lock must be held.
func WriteFiles(step string, files []engine.File) error {
	journal, err := openJournal()
	if err != nil {
		return err
	}
	return engine.NewHost(journal).WriteFiles(step, files)
}
