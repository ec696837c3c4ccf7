package server

import (
	"context"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/images"
)

// Prepare puts everything on this server that kubeadm wants to find there, from the bundle. Reset takes it back, after
// `kubeadm reset`.
func Prepare(ctx context.Context, h Host, report engine.Report) error {
	if err := checkRoot(); err != nil {
		return err
	}
	held, err := node.Lock()
	if err != nil {
		return err
	}
	defer release(held)
	s, err := earlier()
	if err != nil {
		return err
	}
	if s != nil {
		return alreadyNode("prepare this host for kubeadm", s.Spec)
	}
	name, err := hostName()
	if err != nil {
		return err
	}
	found, err := h.open(ctx)
	if err != nil {
		return err
	}
	defer found.close()
	runtime, err := othersRuntime(ctx)
	if err != nil {
		return err
	}
	if err := found.pull(ctx, name, report); err != nil {
		return err
	}
	ctx, cancel := h.within(ctx, "prepare this host")
	defer cancel()
	b, err := images.Open(found.dir)
	if err != nil {
		return err
	}
	steps, err := node.PrepareSteps(b, inContainer(), runtime)
	if err != nil {
		return err
	}
	return engine.Run(ctx, name, steps, report)
}

// othersRuntime decides what becomes of a containerd that is there. A run that was interrupted has decided that.
func othersRuntime(ctx context.Context) (*bootstrap.Runtime, error) {
	if begun, err := node.Begun(); err != nil || begun {
		return nil, err
	}
	look := lookForContainerd(ctx)
	if err := preflight.One(ctx, "runtime", preflight.Facts{Containerd: look}); err != nil {
		return nil, err
	}
	return cri.Choose(look, false), nil
}
