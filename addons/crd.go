package addons

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

const definitionKind = "CustomResourceDefinition"

func definitions() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

func isDefinition(u *unstructured.Unstructured) bool { return u.GetKind() == definitionKind }

// established says whether the API server serves what a definition defines.
func established(u *unstructured.Unstructured) bool { return isTrue(u, "Established") }

func isTrue(u *unstructured.Unstructured, condition string) bool {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		c, ok := c.(map[string]any)
		if ok && c["type"] == condition && c["status"] == "True" {
			return true
		}
	}
	return false
}

// nudgeAfter is how long a definition may take to be established once its names are accepted. Usually it is a moment.
const nudgeAfter = 2 * time.Second

// nudge changes definitions and takes the changes back. The API server establishes a definition when it sees it change after
// its names were accepted; one that died between the two does not do it when it starts again, as then it sees no change.
func (a *applier) nudge(ctx context.Context, names []string) error {
	r := a.client.dynamic.Resource(definitions())
	for _, name := range names {
		for _, value := range []string{`"1"`, "null"} {
			patch := []byte(`{"metadata": {"annotations": {"slipway.dev/nudge": ` + value + `}}}`)
			err := persist(ctx, func(ctx context.Context) error {
				_, err := r.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
				return err
			})
			if err != nil {
				return fmt.Errorf("%s/%s: %w", definitionKind, name, err)
			}
		}
	}
	return nil
}

// stuck forgets the definitions that are established, and gives those that are not although their names are accepted.
func (a *applier) stuck(store cache.Store) (names []string) {
	for _, u := range listed(store) {
		switch {
		case established(u):
			delete(a.unsettled, u.GetName())
		case a.unsettled[u.GetName()] && isTrue(u, "NamesAccepted"):
			names = append(names, u.GetName())
		}
	}
	return names
}

// settle watches until every definition that was applied is established.
func (a *applier) settle(ctx context.Context) error {
	if len(a.unsettled) == 0 {
		return nil
	}
	a.say(fmt.Sprintf("waiting for %d kinds to be served", len(a.unsettled)))
	watching, stop := context.WithCancel(ctx)
	m := newMirrors()
	defer m.wait()
	defer stop()
	store := m.follow(watching, a.client.dynamic.Resource(definitions()), metav1.ListOptions{})
	tick := time.NewTicker(nudgeAfter)
	defer tick.Stop()
	for {
		stuck := a.stuck(store)
		if len(a.unsettled) == 0 {
			return nil
		}
		select {
		case <-m.changed:
		case <-tick.C:
			if err := a.nudge(ctx, stuck); err != nil {
				return err
			}
		case <-ctx.Done():
			names := slices.Sorted(maps.Keys(a.unsettled))
			return fmt.Errorf("%s/%s: not established: %w", definitionKind, strings.Join(names, ","), ctx.Err())
		}
	}
}
