package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/internal/fault"
)

// ResetOptions say how to take a server out of its cluster.
type ResetOptions struct {
	// Force goes on when the cluster does not answer.
	Force bool
	Wait  time.Duration
	// Warn is told what remains to be done elsewhere; it may be nil.
	Warn func(string)
}

// Reset takes this server out of its cluster and everything back that Init or Join did on it. The faults are not-a-node,
// cluster-unreachable and those of the steps; a reset that failed or was interrupted can be run again.
func Reset(ctx context.Context, o ResetOptions, report engine.Report) error {
	if err := checkRoot(); err != nil {
		return err
	}
	ctx, cancel := Host{Wait: o.Wait}.within(ctx, "reset this host")
	defer cancel()
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	held, err := node.Lock()
	if err != nil {
		return err
	}
	defer release(held)
	s, err := toReset()
	if err != nil {
		return err
	}
	if s.Spec != nil && !s.Left {
		if err := o.leave(ctx, s.Spec, report); err != nil {
			return err
		}
		s.Left = true // what asks the cluster may be gone when this is interrupted from now on
		if err := s.save(); err != nil {
			// On a full disk, which a reset is to make room on, that must not be the end of it.
			o.Warn(fmt.Sprintf("if this is interrupted, go on with `slipway reset --force`: %v", err))
		}
	}
	if err := node.Undo(ctx, s.Spec, report); err != nil {
		return err
	}
	if err := os.Remove(stateFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what this host was: %w", err)
	}
	return nil
}

// toReset gives what this host is, without a specification where that is not known and yet something was changed.
func toReset() (*state, error) {
	s, err := load()
	if err != nil || s != nil {
		return s, err
	}
	changed, err := node.HasJournal()
	if err == nil && !changed {
		err = fault.New("not-a-node", "reset this host", errors.New("slipway has changed nothing on it"), "there is nothing to do")
	}
	return &state{}, err
}

func (o ResetOptions) leave(ctx context.Context, spec *bootstrap.NodeSpec, report engine.Report) error {
	l := &leaving{spec: spec, warn: o.Warn}
	steps := l.steps(ctx)
	if len(steps) == 0 {
		if spec.Node.ControlPlane && l.externalEtcd() && exists(node.KubeletUnit) {
			o.Warn("this was the last control plane, and the external etcd still holds the cluster's objects: " +
				"`etcdctl del --prefix /registry/` there removes them")
		}
		return nil
	}
	err := engine.Run(ctx, spec.Node.Name, steps, report)
	if err == nil || !o.Force || ctx.Err() != nil {
		return err
	}
	o.Warn(fmt.Sprintf("the cluster still knows this node: %v\n  next: %s", err, l.byHand()))
	return nil
}
