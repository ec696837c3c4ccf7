package server

import (
	"context"
	"errors"
	"os"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/internal/fault"
)

// ResetOptions say how to take a server out of its cluster.
type ResetOptions struct {
	// Force goes on when the cluster does not answer, or another reason to leave it first fails.
	Force bool
}

// Reset takes everything back that Init or Join did on this server. The faults are not-a-node and those of the steps; a
// reset that failed or was interrupted can be run again.
func Reset(ctx context.Context, _ ResetOptions, report engine.Report) error {
	if err := checkRoot(); err != nil {
		return err
	}
	held, err := node.Lock()
	if err != nil {
		return err
	}
	defer held.Unlock()
	s, err := load()
	if err != nil {
		return err
	}
	changed, err := node.HasJournal()
	if err != nil {
		return err
	}
	if s == nil && !changed {
		held.Remove()
		_ = os.Remove(node.StateDir) // only if nothing else is in it
		return fault.New("not-a-node", "reset this host", errors.New("slipway has changed nothing on it"), "there is nothing to do")
	}
	var spec *bootstrap.NodeSpec
	if s != nil {
		spec = s.Spec
	}
	if err := node.Undo(ctx, spec, report); err != nil {
		return err
	}
	if err := os.Remove(stateFile()); err != nil && s != nil {
		return err
	}
	held.Remove()
	_ = os.Remove(node.StateDir)
	return nil
}
