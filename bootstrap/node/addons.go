package node

import (
	"context"
	"time"

	"k8s.io/client-go/rest"

	"slipway.dev/slipway/addons"
	"slipway.dev/slipway/bootstrap/engine"
)

func (n *builder) applyAddon(name string, a addons.Addon, needs ...string) engine.Step {
	return n.addonStep(name, "apply ", rendered(a), addons.Differing, addons.Apply, needs)
}

func (n *builder) addonReady(name string, a addons.Addon, needs ...string) engine.Step {
	return n.addonStep(name, "wait for ", rendered(a), addons.Unready, addons.WaitReady, needs)
}

type (
	getAddon  func() (addons.Addon, error)
	lookAddon func(context.Context, *rest.Config, addons.Addon) ([]string, error)
	doAddon   func(context.Context, *rest.Config, addons.Addon, func(string)) error
)

func rendered(a addons.Addon) getAddon { return func() (addons.Addon, error) { return a, nil } }

// addonStep is cheaper done than looked at, as doing it again changes nothing: only a plan looks.
func (n *builder) addonStep(name, word string, get getAddon, look lookAddon, do doAddon, needs []string) engine.Step {
	with := func(do func(*rest.Config, addons.Addon) error) error {
		a, err := get()
		if err != nil {
			return err
		}
		cfg, err := n.superAdmin()
		if err != nil {
			return err
		}
		return do(cfg, a)
	}
	all := []string{word + name}
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) { return all, nil },
		Look: func(ctx context.Context) (what []string, err error) {
			if n.Files != nil && askReady(ctx, controllerManagerKubeconfig) != nil { // there is no cluster yet
				return all, nil
			}
			err = with(func(cfg *rest.Config, a addons.Addon) error {
				cfg.Timeout = lookTime
				what, err = look(ctx, cfg, a)
				return err
			})
			return each(word, what), err
		},
		Do: func(ctx context.Context, progress func(string)) error {
			return with(func(cfg *rest.Config, a addons.Addon) error { return do(ctx, cfg, a, progress) })
		},
	}
}

// lookTime is how long the API server may take to say what one object is like.
const lookTime = 5 * time.Second
