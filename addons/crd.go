package addons

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const definitionKind = "CustomResourceDefinition"

func definitions() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

func isDefinition(u *unstructured.Unstructured) bool { return u.GetKind() == definitionKind }

// established says whether the API server serves what a definition defines.
func established(u *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		c, ok := c.(map[string]any)
		if ok && c["type"] == "Established" && c["status"] == "True" {
			return true
		}
	}
	return false
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
	for {
		for _, obj := range store.List() {
			if u, ok := obj.(*unstructured.Unstructured); ok && established(u) {
				delete(a.unsettled, u.GetName())
			}
		}
		if len(a.unsettled) == 0 {
			return nil
		}
		select {
		case <-m.changed:
		case <-ctx.Done():
			names := slices.Sorted(maps.Keys(a.unsettled))
			return fmt.Errorf("%s/%s: not established: %w", definitionKind, strings.Join(names, ","), ctx.Err())
		}
	}
}
