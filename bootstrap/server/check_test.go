package server

import (
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/internal/fault"
)

func TestWants(t *testing.T) {
	for asked, want := range map[string]bool{
		"": true, "1.37": true, "v1.37": true, "1.37.1": true, "v1.37.1": true,
		"1": false, "1.3": false, "1.36": false, "1.37.2": false, "1.37.10": false, "x": false,
	} {
		if got := (Host{KubernetesVersion: asked}).wants("v1.37.1"); got != want {
			t.Errorf("asked for %q: %v", asked, got)
		}
	}
}

// TestOtherVersionThanBefore: an interrupted run is not completed with another version than it began with.
func TestOtherVersionThanBefore(t *testing.T) {
	s := &bootstrap.NodeSpec{Cluster: bootstrap.Cluster{KubernetesVersion: "v1.37.1", Endpoint: "api:6443", Dedicated: true}, Bundle: "/b"}
	o := InitOptions{Host: Host{Bundle: "/b", KubernetesVersion: "1.37"}, Endpoint: "api"}
	if err := o.same(s); err != nil {
		t.Error(err)
	}
	o.KubernetesVersion = "1.36"
	if all := fault.All(o.same(s)); len(all) != 1 || all[0].ID != "init-differs" || !strings.Contains(all[0].Error(), "Kubernetes version v1.37.1") {
		t.Errorf("got %v", all)
	}
}
