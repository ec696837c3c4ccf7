package local_test

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/providers/local"
)

// host is a provider with directories of its own, and what machines are made from.
type host struct {
	*local.Provider
	config local.Config
	rootfs string
}

// newHost gives a provider that is expected to have left nothing when the test ends.
func newHost(t *testing.T) *host {
	t.Helper()
	m := needMachines(t)
	h := newProvider(t, m.runc())
	h.rootfs = m.rootfs()
	return h
}

func newProvider(t *testing.T, runc string) *host {
	t.Helper()
	// Not t.TempDir, whose file system may be one that cannot hold an overlay's upper directory.
	dir, err := os.MkdirTemp("/var/tmp", "slipway-local-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := local.Config{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Runc: runc}
	h := &host{Provider: local.New(config), config: config}
	t.Cleanup(func() { h.sweep(t) })
	return h
}

// sweep deletes what a failed test has left.
func (h *host) sweep(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	machines, err := h.List(ctx, "")
	if err != nil {
		t.Error(err)
	}
	for _, m := range machines {
		if err := h.Delete(ctx, m.Cluster(), m.Name()); err != nil {
			t.Error(err)
		}
	}
	clusters, _ := os.ReadDir(filepath.Join(h.config.StateDir, "clusters"))
	for _, c := range clusters {
		if err := h.DeleteNetwork(ctx, c.Name()); err != nil {
			t.Error(err)
		}
	}
}

func (h *host) down(t *testing.T, cluster string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := h.Delete(t.Context(), cluster, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.DeleteNetwork(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
}

// downAll deletes what the provider itself knows of.
func (h *host) downAll(t *testing.T, cluster string) {
	t.Helper()
	machines, err := h.List(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range machines {
		names = append(names, m.Name())
	}
	h.down(t, cluster, names...)
}

func (h *host) ensure(t *testing.T, n local.Network) {
	t.Helper()
	if err := h.EnsureNetwork(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

func (h *host) create(t *testing.T, spec local.MachineSpec) *local.Machine {
	t.Helper()
	start := time.Now()
	m, err := h.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("made %s in %s", spec.Name, time.Since(start).Round(time.Millisecond))
	return m
}

// network is that of cluster number i.
func network(cluster string, i byte) local.Network {
	return local.Network{
		Cluster: cluster,
		Subnet:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 91, i, 0}), 24),
		Gateway: netip.AddrFrom4([4]byte{10, 91, i, 1}),
		Fenced:  []netip.Prefix{netip.MustParsePrefix("10.92.0.0/16"), netip.MustParsePrefix("10.93.0.0/16")},
	}
}

// spec is that of machine number i in cluster number 0.
func (h *host) spec(cluster, name string, i byte) local.MachineSpec {
	return local.MachineSpec{
		Cluster: cluster,
		Name:    name,
		Address: netip.AddrFrom4([4]byte{10, 91, 0, i}),
		Layers:  []string{h.rootfs},
	}
}

func shell(t *testing.T, m *local.Machine, script string) string {
	t.Helper()
	var out bytes.Buffer
	if err := m.Run(t.Context(), local.Command{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return strings.TrimSpace(out.String())
}
