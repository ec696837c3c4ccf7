package addons

import (
	"context"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// stage says what must be there before an object is applied.
type stage int

const (
	stageNamespaces stage = iota
	stageBase             // accounts, roles, configuration, definitions, services
	stageWorkloads        // what makes pods: without its account a pod is refused and tried again late
	stageCustom           // objects of the kinds that the addon defines
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
	return out
}

func stageOf(u *unstructured.Unstructured, defined map[string]bool) stage {
	if defined[u.GroupVersionKind().Group] {
		return stageCustom
	}
	switch u.GetKind() {
	case "Namespace":
		return stageNamespaces
	case "DaemonSet", "Deployment", "StatefulSet", "Job", "CronJob", "Pod":
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
