package node

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/internal/testenv"
)

// testSpecs are those of three control planes and two workers.
func testSpecs(t *testing.T) []*bootstrap.NodeSpec {
	t.Helper()
	c := bootstrap.Cluster{
		Name: "t", KubernetesVersion: "v1.37.1", PodCIDR: netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), DNSDomain: "cluster.local", Endpoint: "192.0.2.11:6443", Workers: 2,
	}
	var nodes []bootstrap.Node
	for i := range 5 {
		n := bootstrap.Node{Name: fmt.Sprint("n", i+1), ControlPlane: i < 3, Init: i == 0, Shared: true}
		n.Address = netip.MustParseAddr(fmt.Sprint("192.0.2.", 11+i))
		if n.ControlPlane {
			c.ControlPlanes = append(c.ControlPlanes, bootstrap.Member{Name: n.Name, Address: n.Address})
		}
		nodes = append(nodes, n)
	}
	cas, err := certs.NewAuthorities(certs.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := fleet.NewPlan(c, nodes, cas, "/bundle", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return p.Specs
}

// testBuilder has the names of images as a bundle would give them, without one.
func testBuilder(t *testing.T, s *bootstrap.NodeSpec) *builder {
	t.Helper()
	set, err := pins.For("")
	if err != nil {
		t.Fatal(err)
	}
	return &builder{NodeSpec: s, refs: set.Images()}
}

func realBundle(t *testing.T) *images.Bundle {
	t.Helper()
	b, err := images.Open(string(testenv.NeedBundle(t)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testHost(t *testing.T) *engine.Host {
	t.Helper()
	j, err := engine.OpenJournal(filepath.Join(t.TempDir(), "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return engine.NewHost(j)
}
