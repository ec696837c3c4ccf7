package addons

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// stage says what must be there before an object is applied.
type stage int

const (
	stageNamespaces stage = iota
	stageBase             // accounts, roles, configuration, services
	// Workloads do not wait for definitions: an image has to be started before anybody misses a kind,
	// and a few dozen definitions are what takes an API server its time.
	stageWorkloads
	stageCustom // objects of the kinds that the addon defines
)

func staged(objects []*unstructured.Unstructured) map[stage][]*unstructured.Unstructured {
	groups := map[string]bool{}
	for _, u := range objects {
		if isDefinition(u) {
			group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
			groups[group] = true
		}
	}
	out := map[stage][]*unstructured.Unstructured{}
	for _, u := range objects {
		s := stageOf(u, groups)
		out[s] = append(out[s], u)
	}
	slices.SortStableFunc(out[stageWorkloads], func(a, b *unstructured.Unstructured) int {
		return cmp.Compare(late(a), late(b))
	})
	return out
}

// late puts definitions behind the workloads of their stage.
func late(u *unstructured.Unstructured) int {
	if isDefinition(u) {
		return 1
	}
	return 0
}

func stageOf(u *unstructured.Unstructured, defined map[string]bool) stage {
	if defined[u.GroupVersionKind().Group] {
		return stageCustom
	}
	switch u.GetKind() {
	case "Namespace":
		return stageNamespaces
	case "DaemonSet", "Deployment", "StatefulSet", "Job", "CronJob", "Pod", definitionKind:
		return stageWorkloads
	}
	return stageBase
}

// each calls do for every item, at most n at a time, and cancels the others when one fails.
func each[T any](ctx context.Context, n int, items []T, do func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(n)
	for _, item := range items {
		g.Go(func() error { return do(ctx, item) })
	}
	return g.Wait()
}
