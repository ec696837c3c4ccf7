package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
)

// StateDir is where a host keeps the journal and the lock.
const StateDir = "/var/lib/slipway"

// Converge makes this host the node of spec, or completes what an earlier run began. One at a time runs on a host;
// the kernel gives the lock back when the process dies. The faults are those of the steps and converge-running.
func Converge(ctx context.Context, spec *bootstrap.NodeSpec, report engine.Report) error {
	unlock, err := lock(filepath.Join(StateDir, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
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

func lock(path string) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock this host: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock this host: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fault.New("converge-running", "lock this host", fmt.Errorf("%q is held", path),
			"wait until the other run has ended, then run the same command again")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}
