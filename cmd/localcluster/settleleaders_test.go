package localcluster

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestLeaseIsOver: only the lease of one whose machine was started since is taken back.
func TestLeaseIsOver(t *testing.T) {
	start := time.Now()
	s := &settling{since: map[string]time.Time{"dev-cp-1": start, "dev-cp-2": start.Add(-time.Hour)}}
	for _, tt := range []struct {
		name, holder string
		renewed      time.Duration // after the start
		want         bool
	}{
		{"of the time before", "dev-cp-1_4b1c", -time.Second, true},
		{"renewed since", "dev-cp-1_4b1c", time.Second, false},
		{"of a machine that went on", "dev-cp-2_77aa", -time.Second, false},
		{"of nobody", "", -time.Second, false},
		{"of a stranger", "other-cp-1_1234", -time.Second, false},
		{"of a machine of the cluster that this is a copy of", "other-cp-1_1234", -2 * time.Hour, true},
	} {
		l := coordinationv1.LeaseSpec{HolderIdentity: ptr.To(tt.holder), RenewTime: &metav1.MicroTime{Time: start.Add(tt.renewed)}}
		if got := s.isOver(l); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if s.isOver(coordinationv1.LeaseSpec{HolderIdentity: ptr.To("dev-cp-1_4b1c")}) {
		t.Error("one that was never renewed")
	}
}
