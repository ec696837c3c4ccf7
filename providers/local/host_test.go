package local_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
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

func newHost(t *testing.T) *host {
	t.Helper()
	rootfs, runc := os.Getenv("SLIPWAY_TEST_ROOTFS"), os.Getenv("SLIPWAY_TEST_RUNC")
	dir, err := os.MkdirTemp("/var/tmp", "slipway-local-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := local.Config{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Runc: runc}
	h := &host{local.New(config), config, rootfs}
	t.Cleanup(func() { h.sweep(t) })
	return h
}

// sweep deletes what a failed test has left.
func (h *host) sweep(t *testing.T) {
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

func network(cluster string) local.Network {
	return local.Network{
		Cluster: cluster,
		Subnet:  netip.MustParsePrefix("10.91.0.0/24"),
		Gateway: netip.MustParseAddr("10.91.0.1"),
		Fenced:  []netip.Prefix{netip.MustParsePrefix("10.92.0.0/16"), netip.MustParsePrefix("10.93.0.0/16")},
	}
}

func (h *host) spec(cluster, name, address string) local.MachineSpec {
	return local.MachineSpec{
		Cluster: cluster,
		Name:    name,
		Address: netip.MustParseAddr(address),
		Layers:  []string{h.rootfs},
	}
}
