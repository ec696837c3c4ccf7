package node

import (
	"context"
	"errors"
	"path/filepath"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
)

// StateDir is where a host keeps the journal and the lock.
const StateDir = "/var/lib/slipway"

// Converge makes this host the node of spec, or completes what an earlier run began. One at a time runs on a host;
// the kernel gives the lock back when the process dies. The faults are those of the steps and converge-running.
func Converge(ctx context.Context, spec *bootstrap.NodeSpec, report engine.Report) error {
	held, err := flock.Try(filepath.Join(StateDir, "lock"), flock.Exclusive)
	if errors.Is(err, flock.ErrHeld) {
		return fault.New("converge-running", "make this host a node", err,
			"wait until the other run has ended, then run the same command again")
	}
	if err != nil {
		return err
	}
	defer held.Unlock()
	journal, err := engine.OpenJournal(filepath.Join(StateDir, "journal.jsonl"))
	if err != nil {
		return err
	}
	b, err := images.Open(spec.Bundle)
	if err != nil {
		return err
	}
	steps, err := Steps(ctx, spec, engine.NewHost(journal), b)
	if err != nil {
		return err
	}
	return engine.Run(ctx, spec.Node.Name, steps, report)
}
