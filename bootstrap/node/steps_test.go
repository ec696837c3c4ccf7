package node

import (
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
