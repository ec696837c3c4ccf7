package addons

import (
	"context"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestPersist: an address that an interrupted request of our own still has comes free, and nothing else that is invalid becomes valid.
func TestPersist(t *testing.T) {
	invalid := func(why string) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "kube-dns",
			field.ErrorList{field.Invalid(field.NewPath("spec", "clusterIPs"), []string{"10.96.0.10"}, why)})
	}
	for why, want := range map[string]int{
		"failed to allocate IP 10.96.0.10: provided IP is already allocated": 3, "it is not an address": 1,
	} {
		tries := 0
		err := persist(t.Context(), func(context.Context) error {
			if tries++; tries == 3 {
				return nil
			}
			return invalid(why)
		})
		if tries != want || (err == nil) != (want == 3) {
			t.Errorf("%s: %d tries, %v", why, tries, err)
		}
	}
}

// TestPassing: an API server makes Kubernetes' own namespaces only a minute later if it could not write when it started.
func TestPassing(t *testing.T) {
	missing := func(resource, name string) error {
		return fmt.Errorf("apply: %w", apierrors.NewNotFound(schema.GroupResource{Resource: resource}, name))
	}
	for _, c := range []struct {
		err   error
		after time.Duration
		want  bool
	}{
		{missing("namespaces", "default"), time.Minute, true},
		{missing("namespaces", "default"), 2 * time.Minute, false},
		{missing("namespaces", "somebody-elses"), time.Minute, false},
		{missing("pods", "default"), time.Minute, false},
		{missing("pods", "default"), time.Second, true},
	} {
		if got := passing(c.err, c.after); got != c.want {
			t.Errorf("%v after %v: %v", c.err, c.after, got)
		}
	}
}
