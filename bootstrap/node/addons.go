package node

import (
	"context"

	"k8s.io/client-go/rest"

	"slipway.dev/slipway/addons"
	"slipway.dev/slipway/bootstrap/engine"
)

func (n *builder) applyAddon(name string, a addons.Addon, needs ...string) engine.Step {
	return n.addonStep(name, "apply "+a.Name, a, addons.Apply, needs)
}

func (n *builder) addonReady(name string, a addons.Addon, needs ...string) engine.Step {
	return n.addonStep(name, "wait for "+a.Name, a, addons.WaitReady, needs)
}

type addonFunc func(context.Context, *rest.Config, addons.Addon, func(string)) error

func (n *builder) addonStep(name, what string, a addons.Addon, do addonFunc, needs []string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs, Check: always(what),
		Do: func(ctx context.Context, progress func(string)) error {
			cfg, err := n.superAdmin()
			if err != nil {
				return err
			}
			return do(ctx, cfg, a, progress)
		},
	}
}
