package doctor_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/doctor"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/certs"
)

// root is the file system of a made-up host. Its name is short, as a socket's has to be.
type root string

func newRoot(t *testing.T) root {
	t.Helper()
	dir, err := os.MkdirTemp("", "sw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return root(dir)
}

func (r root) path(name string) string { return filepath.Join(string(r), name) }

func (r root) write(t *testing.T, name, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755)
	if err == nil {
		err = os.WriteFile(r.path(name), []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r root) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(r.path(name)); err != nil {
		t.Fatal(err)
	}
}

func (r root) host() doctor.Host { return doctor.Host{Root: string(r), Unit: running, UnitLog: noLog} }

// examine runs one check.
func (r root) examine(t *testing.T, name string) []doctor.Finding {
	t.Helper()
	return examine(t, r.host(), name)
}

func examine(t *testing.T, h doctor.Host, name string) []doctor.Finding {
	t.Helper()
	for _, c := range doctor.Checks() {
		if c.Name != name {
			continue
		}
		found, err := h.Examine(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	t.Fatalf("there is no check %q", name)
	return nil
}

// want is the level of a finding, and parts of what it says.
type want struct {
	level doctor.Level
	parts []string
}

func fine(parts ...string) want    { return want{doctor.OK, parts} }
func warned(parts ...string) want  { return want{doctor.Warning, parts} }
func problem(parts ...string) want { return want{doctor.Problem, parts} }

func expect(t *testing.T, got []doctor.Finding, all ...want) {
	t.Helper()
	if len(got) != len(all) {
		t.Errorf("found %d things, want %d: %+v", len(got), len(all), got)
		return
	}
	for i, w := range all {
		text := got[i].What + "\n" + got[i].Why + "\n" + got[i].Next
		for _, part := range w.parts {
			if !strings.Contains(text, part) {
				t.Errorf("finding %d does not say %q: %+v", i, part, got[i])
			}
		}
		if got[i].Level != w.level {
			t.Errorf("finding %d is of level %s, want %s: %+v", i, got[i].Level, w.level, got[i])
		}
	}
}

var loopback = netip.MustParseAddr("127.0.0.1")

func theCluster(endpoint string) bootstrap.Cluster {
	return bootstrap.Cluster{
		Name: "c", KubernetesVersion: "v1.37.1", Endpoint: endpoint, DNSDomain: "cluster.local",
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"),
		ControlPlanes: []bootstrap.Member{{Name: "cp", Address: loopback}},
	}
}

func controlPlane() bootstrap.Node {
	return bootstrap.Node{Name: "cp", Address: loopback, ControlPlane: true, Init: true}
}

func worker() bootstrap.Node { return bootstrap.Node{Name: "w", Address: loopback} }

// save writes what package server would have, once it was done or before.
func (r root) save(t *testing.T, c bootstrap.Cluster, n bootstrap.Node, done bool) {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"v": 1, "done": done, "spec": bootstrap.NodeSpec{Version: 1, Cluster: c, Node: n, Bundle: "/bundle"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, "/var/lib/slipway/node.json", string(data))
}

// newNode gives the made-up host of a node, with its certificates of that time.
func newNode(t *testing.T, c bootstrap.Cluster, n bootstrap.Node, when time.Time) root {
	t.Helper()
	r := newRoot(t)
	r.save(t, c, n, true)
	r.certify(t, newAuthorities(t, when), c, n, when)
	return r
}

func newAuthorities(t *testing.T, when time.Time) *certs.Authorities {
	t.Helper()
	cas, err := certs.NewAuthorities(certs.ECDSA, when)
	if err != nil {
		t.Fatal(err)
	}
	return cas
}

func (r root) certify(t *testing.T, cas *certs.Authorities, c bootstrap.Cluster, n bootstrap.Node, when time.Time) {
	t.Helper()
	spec, err := fleet.NewSpec(c, n, cas, "/bundle", when)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range spec.Files {
		r.put(t, f)
	}
}

func (r root) put(t *testing.T, f engine.File) {
	t.Helper()
	if f.Link == "" {
		r.write(t, f.Path, string(f.Data))
		return
	}
	if err := os.Symlink(f.Link, r.path(f.Path)); err != nil {
		t.Fatal(err)
	}
}
