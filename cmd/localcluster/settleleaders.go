package localcluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// unled gives the parts of the control plane that nobody leads since the machines were started, by the names of their leases. Until the
// controller manager leads, Services go to the addresses that pods had before. The lease of one that led then keeps others from it
// for 15 s, however old it is, as each counts from when it has seen it. So it is taken back here. A control plane that has always been
// alone leads without one, also where another's addition was given up.
func (s *settling) unled(ctx context.Context) []string {
	controlPlanes, _ := s.Size()
	leases := s.client.CoordinationV1().Leases(metav1.NamespaceSystem)
	var out []string
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		l, err := leases.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) && controlPlanes == 1:
			continue
		case err != nil: // it may not be there yet, as in a copy of a cluster
		case s.isOver(l.Spec):
			l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = ptr.To(""), ptr.To[int32](1)
			_, err = leases.Update(ctx, l, metav1.UpdateOptions{}) // if somebody has changed it, that may be a leader
		case isGood(l.Spec) && ptr.Deref(l.Spec.HolderIdentity, "") != "":
			continue
		}
		why := "a leader of " + name
		if err != nil {
			why += fmt.Sprintf(" (%v)", err)
		}
		out = append(out, why)
	}
	return out
}

// isOver tells whether the one who holds a lease has ended: its machine was started since it was heard of. In a copy of another cluster
// the holder is a machine of that one, and all machines were.
func (s *settling) isOver(l coordinationv1.LeaseSpec) bool {
	host, _, held := strings.Cut(ptr.Deref(l.HolderIdentity, ""), "_")
	since, known := s.since[host]
	if !known {
		since = slices.MinFunc(slices.Collect(maps.Values(s.since)), time.Time.Compare)
	}
	return held && l.RenewTime != nil && l.RenewTime.Time.Before(since)
}
