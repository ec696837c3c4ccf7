package localcluster

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
	"slipway.dev/slipway/providers/local"
)

func savedRecord() Record {
	node := func(name, address string, controlPlane bool) bootstrap.Node {
		return bootstrap.Node{Name: name, Address: netip.MustParseAddr(address), ControlPlane: controlPlane, Joins: controlPlane}
	}
	return Record{
		Version: recordVersion, Ready: true, Frozen: []string{"one"}, Leaving: []bootstrap.Node{{Name: "left"}}, Kubeconfigs: []string{"/root/.kube/config"},
		Subnet: netip.MustParsePrefix("10.89.3.0/24"), Layers: []string{"old", "files", "root"},
		Network: local.Network{Cluster: "one", Gateway: netip.MustParseAddr("10.89.3.1")},
		Nodes:   []bootstrap.Node{node("w", "10.89.3.9", false), node("a", "10.89.3.5", true), node("b", "10.89.3.6", true)},
		Cluster: bootstrap.Cluster{
			Name: "one", PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"),
			VirtualIP: netip.MustParsePrefix("10.89.3.254/24"),
			Mirrors:   []bootstrap.Mirror{{URL: "http://10.89.3.1:5000"}, {URL: "https://registry.example:5000"}},
		},
	}
}

// TestClonedRecord wants the record of a cluster that is made of another one to speak of that no more, and the other's to stay.
func TestClonedRecord(t *testing.T) {
	s := &Snapshot{Cluster: "one", Name: "seeded", Record: savedRecord()}
	r, err := s.cloned(Options{Name: "two", Subnet: netip.MustParsePrefix("10.89.7.0/24")}, "self")
	if err != nil {
		t.Fatal(err)
	}
	if r.Ready || r.Frozen != nil || r.Leaving != nil || r.Kubeconfigs != nil || r.From != "one/seeded" || r.Layers[0] != "self" || r.Cluster.Name != "two" {
		t.Errorf("got %+v", r)
	}
	for i, want := range []struct {
		address string
		init    bool
	}{{"10.89.7.9", false}, {"10.89.7.5", true}, {"10.89.7.6", false}} {
		if n := r.Nodes[i]; n.Address.String() != want.address || n.Init != want.init || n.Joins {
			t.Errorf("node %d: %+v, want %+v", i, n, want)
		}
	}
	k := r.Cluster
	if k.Endpoint != "10.89.7.254:6443" || k.VirtualIP.String() != "10.89.7.254/24" || k.Workers != 1 || len(k.ControlPlanes) != 2 {
		t.Errorf("cluster: %+v", k)
	}
	if k.Mirrors[0].URL != "http://10.89.7.1:5000" || k.Mirrors[1].URL != "https://registry.example:5000" {
		t.Errorf("mirrors: %+v", k.Mirrors)
	}
	if r.Network.Front.String() != "10.89.7.254" || r.Network.Behind != k.LoadBalancers || !r.Subnet.Contains(k.LoadBalancers.Addr()) {
		t.Errorf("load balancers: %+v", r.Network)
	}
	if r.Network.Cluster != "two" || r.Network.Gateway.String() != "10.89.7.1" || r.Network.Subnet != r.Subnet {
		t.Errorf("network: %+v", r.Network)
	}
	if o := s.Record; o.Nodes[0].Address.String() != "10.89.3.9" || o.Layers[0] != "old" {
		t.Errorf("the snapshot has changed: %+v", o)
	}
	_, err = s.cloned(Options{Name: "two", Subnet: netip.MustParsePrefix("10.89.0.0/20")}, "self")
	if all := fault.All(err); len(all) != 1 || all[0].ID != "option-invalid" {
		t.Errorf("a subnet of another size: %v", err)
	}
}

// TestSnapshotDeletedMeanwhile wants nothing to be left by who comes to a snapshot just when it is deleted.
func TestSnapshotDeletedMeanwhile(t *testing.T) {
	d := Dirs{State: t.TempDir()}
	saved := &Snapshot{Version: snapshotVersion, Cluster: "one", Name: "seeded", Record: savedRecord(), dir: snapshotAt(d, "one", "seeded")}
	if err := writeJSON(saved.manifest(), saved); err != nil {
		t.Fatal(err)
	}
	s, err := openSnapshot(d, "one", "seeded", flock.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openSnapshot(d, "one", "seeded", flock.Shared); !isFault(err, "snapshot-busy") {
		t.Errorf("another one has it too: %v", err)
	}
	s.close()
	if _, err := lockSnapshot(d, "one", "gone", flock.Shared); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("locked what is gone: %v", err)
	}
	if _, err := os.Stat(snapshotAt(d, "one", "gone")); err == nil {
		t.Error("there is a directory of what is gone")
	}
	if _, err := openSnapshot(d, "two", "gone", flock.Shared); !isFault(err, "snapshot-unknown") {
		t.Errorf("opened what is gone: %v", err)
	}
}

func isFault(err error, id string) bool {
	all := fault.All(err)
	return len(all) == 1 && all[0].ID == id
}

// TestThawRemoved wants what a killed snapshot had frozen to be forgotten when it was removed since.
func TestThawRemoved(t *testing.T) {
	c := &Cluster{dirs: Dirs{State: t.TempDir(), Run: t.TempDir()}, Record: savedRecord()}
	c.Frozen = []string{"gone", "gone-too"}
	if err := c.thaw(t.Context(), func(engine.Event) {}); err != nil || len(c.Frozen) > 0 {
		t.Errorf("still frozen: %q, %v", c.Frozen, err)
	}
}

// TestClonedIPv6 wants a copy to have second addresses of its own, and the same fences.
func TestClonedIPv6(t *testing.T) {
	s := &Snapshot{Cluster: "one", Name: "seeded", Record: savedRecord()}
	s.Record.Cluster.IPv6 = bootstrap.IPv6{Pods: netip.MustParsePrefix("fd00:10:244::/56"), Services: netip.MustParsePrefix("fd00:10:96::/112")}
	s.Record.useIPv6()
	r, err := s.cloned(Options{Name: "two", Subnet: netip.MustParsePrefix("10.89.7.0/24")}, "self")
	if err != nil {
		t.Fatal(err)
	}
	if was, is := s.Record.Nodes[0].Address6.String(), r.Nodes[0].Address6.String(); was != "fd53:6c69:a59:300::a59:309" || is != "fd53:6c69:a59:700::a59:709" {
		t.Errorf("the first node was %s and is %s", was, is)
	}
	if p := r.Network.Subnet6; p.String() != "fd53:6c69:a59:700::/64" || !p.Contains(r.Nodes[2].Address6) || len(r.Network.Fenced) != 4 {
		t.Errorf("network: %+v", r.Network)
	}
}

func TestMovedURL(t *testing.T) {
	c := &Cluster{source: &Snapshot{Record: savedRecord()}}
	c.Subnet = netip.MustParsePrefix("10.89.250.0/24")
	for url, want := range map[string]string{
		"https://10.89.3.5:2380":   "https://10.89.250.5:2380",
		"https://10.89.3.254:2379": "https://10.89.250.254:2379",
	} {
		if got, err := c.movedURL(url); err != nil || got != want {
			t.Errorf("%s: got %q, %v", url, got, err)
		}
	}
	if got, err := c.movedURL("https://example.org:2380"); err == nil {
		t.Errorf("got %q", got)
	}
}

// TestIsRead: what is large is images and containers; databases are not among that.
func TestIsRead(t *testing.T) {
	const snapshotter = "data/containerd/io.containerd.snapshotter.v1.overlayfs/"
	for path, want := range map[string]bool{
		"upper/etc/hosts":                                                  true,
		"data/etcd/member/snap/db":                                         true,
		"data/kubelet/pods/x/volumes/blobs/f":                              true,
		snapshotter + "metadata.db":                                        true,
		snapshotter + "snapshots/1/fs/bin/cat":                             false,
		"data/containerd/io.containerd.metadata.v1.bolt/meta.db":           true,
		"data/containerd/io.containerd.content.v1.content/blobs/sha256/ab": false,
	} {
		if isRead(path) != want {
			t.Errorf("%s: got %v", path, !want)
		}
	}
}

// TestForgetVolumes leaves what is a program's own.
func TestForgetVolumes(t *testing.T) {
	disk := local.Disk{Data: t.TempDir()}
	pod := filepath.Join(disk.Data, "kubelet/pods/1234")
	for _, dir := range []string{
		"volumes/kubernetes.io~projected/kube-api-access", "volumes/kubernetes.io~configmap/config", "volumes/kubernetes.io~empty-dir/cache",
		"plugins/kubernetes.io~empty-dir/wrapped_config", "plugins/kubernetes.io~empty-dir/cache", "containers/main",
	} {
		if err := os.MkdirAll(filepath.Join(pod, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := forgetVolumes(disk); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(pod, "*/*"))
	if err != nil {
		t.Fatal(err)
	}
	inner, err := filepath.Glob(filepath.Join(pod, "*/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range append(left, inner...) {
		want := []string{
			"containers/main", "plugins/kubernetes.io~empty-dir", "volumes/kubernetes.io~empty-dir",
			"plugins/kubernetes.io~empty-dir/cache", "volumes/kubernetes.io~empty-dir/cache",
		}
		if i >= len(want) || path != filepath.Join(pod, want[i]) {
			t.Errorf("left: %s", path)
		}
	}
}
