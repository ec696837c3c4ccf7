package node

import (
	"context"
	"slices"
	"testing"

	"slipway.dev/slipway/bootstrap/engine"
)

func TestSteps(t *testing.T) {
	b := realBundle(t)
	names := map[int][]string{}
	for i, s := range testSpecs(t) {
		steps, err := Steps(t.Context(), s, testHost(t), b)
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.Validate(steps); err != nil {
			t.Errorf("node %d: %v", i+1, err)
		}
		for _, step := range steps {
			names[i] = append(names[i], step.Name)
		}
	}
	for step, on := range map[string][]int{
		"kubelet":        {0, 1, 2, 3, 4},
		"node-ready":     {0, 1, 2, 3, 4},
		"static-pods":    {0, 1, 2},
		"controllers":    {0, 1, 2},
		"images":         {0, 1, 2, 3, 4},
		"api-images":     {0},
		"mark":           {0, 1, 2},
		"cluster-config": {0}, // the cluster's objects are made once
		"calico":         {0},
		"calico-ready":   {0},
	} {
		for i := range names {
			if has := slices.Contains(names[i], step); has != slices.Contains(on, i) {
				t.Errorf("node %d has step %q: %v", i+1, step, has)
			}
		}
	}
}

// TestBinaries looks at what a node would be given. Where this computer is a node itself, that is less.
func TestBinaries(t *testing.T) {
	n := testBuilder(t, testSpecs(t)[0])
	n.bundle = realBundle(t)
	if _, err := n.bundle.Component("kubeadm"); err != nil {
		t.Fatal(err)
	}
	missing, err := n.binaries("binaries", nil).Check(t.Context())
	if err != nil || slices.Contains(missing, "install kubeadm") {
		t.Errorf("a node is to get %v: %v", missing, err)
	}
}

// TestUndoOfNothing: a unit that no step has come to is somebody else's, and is not even looked at.
func TestUndoOfNothing(t *testing.T) {
	n := testBuilder(t, testSpecs(t)[0])
	n.host = testHost(t)
	called := false
	undo := n.ifOurs("theirs.service", func(context.Context) error {
		called = true
		return nil
	})
	if err := undo(t.Context()); err != nil || called {
		t.Errorf("%v, called: %v", err, called)
	}
	if err := n.loadBalancer("balancer").Undo(t.Context()); err != nil { // which would reach for systemd
		t.Error(err)
	}
}
