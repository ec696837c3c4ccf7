package node

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap"
)

// TestUsedRuntime: nothing of a containerd that is used is claimed, replaced or stopped.
func TestUsedRuntime(t *testing.T) {
	spec := testSpecs(t)[0]
	spec.Node.Runtime = &bootstrap.Runtime{Used: true, Sandbox: "registry.test/pause:1"}
	n, err := newBuilder(t.Context(), spec, testHost(t), realBundle(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := n.programs(); slices.Contains(got, "containerd") || slices.Contains(got, "runc") || !slices.Contains(got, "kubelet") {
		t.Errorf("programs: %v", got)
	}
	if got := n.imagesOfNode(nil); !slices.Contains(got, "sandbox") || n.refs["sandbox"] != spec.Node.Runtime.Sandbox {
		t.Errorf("images: %v", got)
	}
	for _, dir := range n.filledByOthers() {
		if strings.Contains(dir, "containerd") {
			t.Errorf("%s is claimed", dir)
		}
	}
	if s := n.containerd("containerd"); s.Undo != nil {
		t.Error("it is stopped")
	}
}

// TestNotedRuntime: a reset does with a containerd what the journal says, whatever the specification says.
func TestNotedRuntime(t *testing.T) {
	n := testBuilder(t, testSpecs(t)[0])
	n.host = testHost(t)
	var got *bootstrap.Runtime
	if err := n.noted(notedRuntime, &got); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	if err := n.noteRuntime("directories"); err != nil {
		t.Fatal(err)
	}
	if err := n.noted(notedRuntime, &got); err != nil || got != nil {
		t.Errorf("of none: %v, %v", got, err)
	}
	want := bootstrap.Runtime{Used: true, Sandbox: "a"}
	n.Node.Runtime = &want
	if err := n.noteRuntime("directories"); err != nil {
		t.Fatal(err)
	}
	if err := n.noted(notedRuntime, &got); err != nil || *got != want {
		t.Errorf("%v, %v", got, err)
	}
}
