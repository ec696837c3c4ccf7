package node

import (
	"testing"
	"time"
)

// TestSharedHost: a kubelet on a developer's computer looks at its node more often, and reports no more often for that.
func TestSharedHost(t *testing.T) {
	spec := testSpecs(t)[0]
	for shared, want := range map[bool][2]time.Duration{true: {2 * time.Second, 5 * time.Minute}, false: {}} { // zero: the kubelet's own
		spec.Node.Shared = shared
		c := testBuilder(t, spec).usualKubelet()
		if got := [2]time.Duration{c.NodeStatusUpdateFrequency.Duration, c.NodeStatusReportFrequency.Duration}; got != want {
			t.Errorf("shared %v: it looks and reports every %v, want %v", shared, got, want)
		}
	}
}
