package addons

import (
	"context"
	"errors"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/internal/fault"
)

// fieldManager is the name under which a cluster remembers what Slipway set.
const fieldManager = "slipway"

// atOnce is how many requests are under way together: enough to hide the round trips, few enough
// that an API server which has just started is not turned away from its own work.
const atOnce = 8

// Apply brings the objects of an addon into the cluster by server-side apply, and returns when its
// CustomResourceDefinitions are served. It may be repeated: what is there already is left as it is.
// What fails for the moment (an API server that is starting) is tried again until ctx ends.
func Apply(ctx context.Context, cfg *rest.Config, a Addon, report func(string)) error {
	c, err := newClient(cfg)
	if err == nil {
		err = (&applier{client: c, report: report}).all(ctx, a.Objects)
	}
	if err != nil {
		return fault.New("addon-apply-failed", fmt.Sprintf("apply addon %q", a.Name), err,
			"correct the cause and run the same command again: what is applied already stays")
	}
	return nil
}

type applier struct {
	client *client
	report func(string)

	mu        sync.Mutex
	unsettled map[string]bool // CustomResourceDefinitions not established when they were applied
}

// all goes through the stages. Nothing waits for a CustomResourceDefinition to be established but
// the objects of the kinds that the addon itself defines.
func (a *applier) all(ctx context.Context, objects []*unstructured.Unstructured) error {
	a.unsettled = map[string]bool{}
	stages := staged(objects)
	for _, stage := range []stage{stageNamespaces, stageBase, stageWorkloads} {
		if err := a.stage(ctx, stages[stage]); err != nil {
			return err
		}
	}
	if err := a.settle(ctx); err != nil {
		return err
	}
	return a.stage(ctx, stages[stageCustom])
}

// stage applies objects that do not need each other. The first failure ends it.
func (a *applier) stage(ctx context.Context, objects []*unstructured.Unstructured) error {
	return each(ctx, atOnce, objects, func(ctx context.Context, u *unstructured.Unstructured) error {
		if err := persist(ctx, func(ctx context.Context) error { return a.one(ctx, u) }); err != nil {
			return fmt.Errorf("%s: %w", describe(u), err)
		}
		a.say(describe(u) + " applied")
		return nil
	})
}

func (a *applier) one(ctx context.Context, u *unstructured.Unstructured) error {
	r, err := a.client.resource(ctx, u)
	if err != nil {
		return err
	}
	got, err := r.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if isTaken(err) {
		err = errors.Join(err, a.client.freeAddresses(ctx, r, u)) // for the next try
	}
	if err != nil {
		return err
	}
	if isDefinition(u) && !established(got) {
		a.mu.Lock()
		a.unsettled[u.GetName()] = true
		a.mu.Unlock()
	}
	return nil
}

func (a *applier) say(message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.report != nil {
		a.report(message)
	}
}
