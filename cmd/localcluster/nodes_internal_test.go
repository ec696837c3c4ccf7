package localcluster

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/testenv"
	"slipway.dev/slipway/providers/local"
)

// halfGrown is a cluster of which nothing runs. One node is joining that has a machine, and one that has a directory only.
func halfGrown(t *testing.T) *Cluster {
	t.Helper()
	if err := local.CheckRoot(); err != nil {
		testenv.Lacks(t, "%v", err)
	}
	dir := t.TempDir()
	c := &Cluster{dirs: Dirs{State: dir, Run: filepath.Join(dir, "run")}}
	c.Version, c.Cluster.Name, c.Ready, c.Subnet = recordVersion, "half", true, netip.MustParsePrefix("192.0.2.0/24")
	c.Network.Gateway = netip.MustParseAddr("192.0.2.1")
	c.Cluster.PodCIDR, c.Cluster.ServiceCIDR = netip.MustParsePrefix("10.250.0.0/16"), netip.MustParsePrefix("10.251.0.0/16")
	c.Nodes = []bootstrap.Node{{Name: "half-cp-1", Address: netip.MustParseAddr("192.0.2.2"), ControlPlane: true, Init: true}}
	for range 2 {
		n, err := c.newNode(false)
		if err != nil {
			t.Fatal(err)
		}
		c.Joining = append(c.Joining, n)
	}
	for _, n := range []bootstrap.Node{c.Nodes[0], c.Joining[0]} {
		state := map[string]any{"version": 1, "spec": local.MachineSpec{Cluster: "half", Name: n.Name, Address: n.Address}}
		if err := writeJSON(filepath.Join(dir, "clusters/half/machines", n.Name, "machine.json"), state); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(c.provider().MachineDir("half", c.Joining[1].Name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHalfGrown(t *testing.T) {
	c := halfGrown(t)
	stopped, err := c.in(t.Context(), local.Stopped)
	if want := []string{"half-cp-1", "half-worker-1"}; err != nil || !slices.Equal(stopped, want) {
		t.Errorf("to be started: %q, %v", stopped, err)
	}
	if changed, err := Stop(t.Context(), c.dirs, PowerOptions{Name: "half", Grace: time.Second}, func(engine.Event) {}); err != nil || changed {
		t.Errorf("stopped %v, %v", changed, err)
	}

	c.Ready = false
	var f *fault.Error
	if _, err := c.toRestart(t.Context(), ""); !errors.As(err, &f) || f.ID != "cluster-incomplete" {
		t.Errorf("restart of a launch that was interrupted: %v", err)
	}
}

func TestHalfRemoved(t *testing.T) {
	c := halfGrown(t)
	n := c.Joining[0]
	c.Nodes, c.Joining = append(c.Nodes, n), nil
	if err := c.goes(n); err != nil {
		t.Fatal(err)
	}
	c, err := Open(c.dirs, "half")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(home(c.dirs, "half"), "machines", n.Name)); err != nil {
		t.Fatal(err)
	}
	if stopped, err := c.in(t.Context(), local.Stopped); err != nil || !slices.Equal(stopped, []string{"half-cp-1"}) {
		t.Errorf("to be started: %q, %v", stopped, err)
	}
	if again, err := c.removable(n.Name); err != nil || again.Address != n.Address {
		t.Errorf("removed again: %v, %v", again, err)
	}
	if other, err := c.newNode(false); err != nil || other.Name == n.Name || other.Address == n.Address {
		t.Errorf("added meanwhile: %v, %v", other, err)
	}
}

func TestSize(t *testing.T) {
	c := halfGrown(t)
	c.Nodes = append(c.Nodes, c.Joining...)
	if controlPlanes, workers := c.Size(); controlPlanes != 1 || workers != 2 {
		t.Errorf("%d control planes, %d workers", controlPlanes, workers)
	}
}

func TestAddOptions(t *testing.T) {
	c := halfGrown(t)
	if err := (AddOptions{Count: 3, Wait: time.Second}).validate(c); err != nil {
		t.Error(err)
	}
	c.Cluster.PodCIDR = netip.MustParsePrefix("10.250.0.0/25")
	all := fault.All(AddOptions{Count: 2}.validate(c))
	if len(all) != 2 || !strings.Contains(all[0].Error(), "these nodes need at least 192") || !strings.Contains(all[1].Error(), "--wait 0s") {
		t.Error(all)
	}
}

func TestStatusNames(t *testing.T) {
	var names []string
	for _, n := range halfGrown(t).nodes(nil, nil) {
		names = append(names, n.Name)
	}
	if want := []string{"half-cp-1", "half-worker-1", "half-worker-2"}; !slices.Equal(names, want) {
		t.Errorf("got %q", names)
	}
}
