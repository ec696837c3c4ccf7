package node

import (
	"slices"
	"testing"

	"slipway.dev/slipway/bootstrap/engine"
)

// TestKept: a control plane that is only changed does not put addons back to what they were, nor wait for as many nodes as there were.
func TestKept(t *testing.T) {
	spec := testSpecs(t)[0]
	for _, kept := range []bool{false, true} {
		spec.Kept = kept
		n, err := newBuilder(t.Context(), spec, testHost(t), realBundle(t))
		if err != nil {
			t.Fatal(err)
		}
		has := func(name string) bool {
			return slices.ContainsFunc(n.steps(), func(s engine.Step) bool { return s.Name == name })
		}
		if has("coredns") == kept || has("calico-ready") == kept || !has("cluster-config") {
			t.Errorf("kept %v: wrong steps", kept)
		}
	}
}
