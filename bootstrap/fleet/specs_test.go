package fleet_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/certs"
)

func TestNewPlan(t *testing.T) {
	c := bootstrap.Cluster{
		Name: "t", KubernetesVersion: "v1.37.1", PodCIDR: netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), DNSDomain: "cluster.local", Endpoint: "192.0.2.1:6443", Workers: 1,
		ControlPlanes: []bootstrap.Member{{Name: "a", Address: netip.MustParseAddr("192.0.2.1")}, {Name: "b", Address: netip.MustParseAddr("192.0.2.2")}},
	}
	nodes := []bootstrap.Node{
		{Name: "a", Address: netip.MustParseAddr("192.0.2.1"), ControlPlane: true, Init: true},
		{Name: "b", Address: netip.MustParseAddr("192.0.2.2"), ControlPlane: true},
		{Name: "w", Address: netip.MustParseAddr("192.0.2.3")},
	}
	cas, err := certs.NewAuthorities(certs.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := fleet.NewPlan(c, nodes, cas, "/bundle", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a, b, w := byPath(p.Specs[0]), byPath(p.Specs[1]), byPath(p.Specs[2])
	for _, shared := range []string{bootstrap.EncryptionConfig, "/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/sa.key"} {
		if !bytes.Equal(a[shared].Data, b[shared].Data) || len(a[shared].Data) == 0 {
			t.Errorf("the control planes do not share %s", shared)
		}
		if _, ok := w[shared]; ok {
			t.Errorf("a worker has %s", shared)
		}
		if a[shared].Mode != 0o600 {
			t.Errorf("%s has mode %v", shared, a[shared].Mode)
		}
	}
	const super = "/etc/kubernetes/super-admin.conf"
	if len(a[super].Data) == 0 || len(b[super].Data) > 0 {
		t.Error("the super admin is not on the first control plane alone")
	}
	for path, f := range w {
		if !strings.HasPrefix(path, "/etc/kubernetes/") && !strings.HasPrefix(path, "/var/lib/kubelet/pki/") {
			t.Errorf("a worker gets %s", path)
		}
		if bytes.Contains(f.Data, []byte("PRIVATE KEY")) && f.Mode != 0o600 {
			t.Errorf("%s has mode %v", path, f.Mode)
		}
	}
}

func byPath(s *bootstrap.NodeSpec) map[string]engine.File {
	out := map[string]engine.File{}
	for _, f := range s.Files {
		out[f.Path] = f
	}
	return out
}

// TestSpecCrossesTheWire: what a workstation writes, a host reads, and nothing is lost.
func TestSpecCrossesTheWire(t *testing.T) {
	c := bootstrap.Cluster{
		Name: "t", KubernetesVersion: "v1.37.1", PodCIDR: netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), DNSDomain: "cluster.local", Endpoint: "192.0.2.1:6443",
		ControlPlanes: []bootstrap.Member{{Name: "a", Address: netip.MustParseAddr("192.0.2.1")}},
	}
	node := bootstrap.Node{Name: "a", Address: netip.MustParseAddr("192.0.2.1"), ControlPlane: true, Init: true}
	cas, err := certs.NewAuthorities(certs.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := fleet.NewPlan(c, []bootstrap.Node{node}, cas, "/bundle", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p.Specs[0])
	if err != nil {
		t.Fatal(err)
	}
	back, err := bootstrap.ReadSpec(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("%v: %.300s\n%.300s", err, text, again)
	}
	for what, bad := range map[string]string{
		"a newer format":  strings.Replace(string(text), `"v":1`, `"v":2`, 1),
		"a strange field": strings.Replace(string(text), `"v":1`, `"v":1,"strange":true`, 1),
		"no name":         strings.Replace(string(text), `"name":"a","address":"192.0.2.1","controlPlane"`, `"name":"","address":"192.0.2.1","controlPlane"`, 1),
	} {
		if _, err := bootstrap.ReadSpec(strings.NewReader(bad)); err == nil {
			t.Errorf("%s was read", what)
		}
	}
}
