package server

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/bootstrap/engine"
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

func begun(bundle string, from *origin) *state {
	return &state{From: from, Spec: &bootstrap.NodeSpec{
		Cluster: bootstrap.Cluster{KubernetesVersion: "v1.37.1", Endpoint: "api:6443", Dedicated: true}, Bundle: bundle,
	}}
}

// TestOtherBundleThanBefore: a tag means what it meant when the run began, so no registry is asked.
func TestOtherBundleThanBefore(t *testing.T) {
	const tag, byDigest, dir = "oci://r:5000/b:v1", "oci://r:5000/b@sha256:0", "/var/lib/slipway/bundles/sha256-0"
	pulled := begun(dir, &origin{Asked: tag, Ref: byDigest})
	for _, tt := range []struct {
		earlier *state
		bundle  string
		says    string // nothing: the same
	}{
		{pulled, tag, ""},
		{pulled, byDigest, ""},
		{pulled, dir, ""},
		{pulled, "oci://r:5000/b:v2", "with bundle " + tag + ", this is with oci://r:5000/b:v2"},
		{pulled, "/b", "with bundle " + tag},
		{begun("/b", nil), "/b", ""},
		{begun("/b", nil), "/x/../b", ""},
		{begun("/b", nil), tag, "with bundle /b, this is with " + tag},
	} {
		err := InitOptions{Host: Host{Bundle: tt.bundle}, Endpoint: "api"}.same(tt.earlier)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v, then %q: %v, want %q", tt.earlier.From, tt.bundle, err, tt.says)
		}
	}
}

// TestOtherVersionThanBefore: an interrupted run is not completed with another version than it began with.
func TestOtherVersionThanBefore(t *testing.T) {
	s := begun("/b", nil)
	o := InitOptions{Host: Host{Bundle: "/b", KubernetesVersion: "1.37"}, Endpoint: "api"}
	if err := o.same(s); err != nil {
		t.Error(err)
	}
	o.KubernetesVersion = "1.36"
	if all := fault.All(o.same(s)); len(all) != 1 || all[0].ID != "settings-differ" || !strings.Contains(all[0].Error(), "Kubernetes version v1.37.1") {
		t.Errorf("got %v", all)
	}
}

// TestSkipped: nobody waits for what a skipped step would have made, and an interrupted run is not completed with other steps.
func TestSkipped(t *testing.T) {
	var steps []engine.Step
	for _, name := range []string{"kube-proxy", "coredns", "node-ready", "kube-proxy-ready", "coredns-ready"} {
		steps = append(steps, engine.Step{Name: name})
	}
	for _, skip := range [][]string{{"containerd", "coredns"}, {"containerd", "coredns", "coredns-ready"}} {
		if got := withReady(skip, steps); !slices.Equal(got, []string{"containerd", "coredns", "coredns-ready"}) {
			t.Errorf("without %q: %q", skip, got)
		}
	}
	s := begun("/b", nil)
	s.Skip = []string{"coredns"}
	o := InitOptions{Host: Host{Bundle: "/b", Skip: s.Skip}, Endpoint: "api"}
	if err := o.same(s); err != nil {
		t.Error(err)
	}
	o.Skip = []string{"coredns", "kube-proxy"}
	if all := fault.All(o.same(s)); len(all) != 1 || all[0].ID != "settings-differ" ||
		!strings.Contains(all[0].Error(), "skipped steps [coredns], this is with [coredns kube-proxy]") {
		t.Errorf("got %v", all)
	}
	s.Skip = []string{"kube-proxy", "coredns", "coredns"}
	if err := o.same(s); err != nil {
		t.Error("the same steps in another order:", err)
	}
	j := joining{JoinOptions: JoinOptions{Host: Host{Bundle: "/b", Skip: []string{"images"}}}}
	if all := fault.All(j.same(begunState(t))); len(all) != 1 || all[0].ID != "settings-differ" {
		t.Errorf("join: got %v", all)
	}
}

// TestJoinOther: a host that is about to be, or is, a node of one cluster is not taken for one of another.
func TestJoinOther(t *testing.T) {
	s, other := begunState(t), begunState(t)
	hash := func(s *state) []discovery.CAHash {
		ca, err := s.authority()
		if err != nil {
			t.Fatal(err)
		}
		return []discovery.CAHash{discovery.HashOf(ca)}
	}
	begun := joining{JoinOptions: JoinOptions{Host: Host{Bundle: "/b"}}, hashes: hash(s)}
	if err := begun.same(s); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*joining){
		"node-already":    func(j *joining) { j.hashes = hash(other) },
		"settings-differ": func(j *joining) { j.Bundle, j.Address = "/c", netip.MustParseAddr("192.0.2.2") },
	} {
		j := begun
		change(&j)
		if all := fault.All(j.same(s)); len(all) == 0 || all[0].ID != want {
			t.Errorf("got %v, want %s", all, want)
		}
	}
}

// begunState is of a worker that a first run of join did not complete.
func begunState(t *testing.T) *state {
	t.Helper()
	h := newServer(t, 0)
	n := bootstrap.Node{Name: "n", Address: netip.MustParseAddr("192.0.2.1")}
	return &state{Spec: &bootstrap.NodeSpec{Node: n, Bundle: "/b", Files: []engine.File{{Path: caFile, Data: h.read(t, caFile)}}}}
}
