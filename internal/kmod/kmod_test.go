package kmod_test

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"slipway.dev/slipway/internal/kmod"
)

// TestUnloadSince loads and unloads modules by and by. The end-to-end tests run it in a virtual machine.
func TestUnloadSince(t *testing.T) {
	if os.Getenv("SLIPWAY_TEST_KERNEL") != "own" {
		t.Skip("needs a kernel that it has for itself")
	}
	for _, c := range []struct {
		name, use, look, tidy string
		modules               []string // some of those that are loaded
	}{
		{"link", "ip link add wg9 type wireguard", "ip link show wg9", "ip link delete wg9", []string{"wireguard", "udp_tunnel"}},
		{"links elsewhere", "ip netns add other && ip -n other link add one type veth peer name two", "ip -n other link show two",
			"ip netns delete other", []string{"veth"}},
		{"policy", "nft 'add table inet own; add chain inet own in {type filter hook input priority 0; policy accept;}'",
			"nft list table inet own | grep policy", "nft delete table inet own", []string{"nf_tables", "nfnetlink"}},
		{"translation", "iptables -t nat -A POSTROUTING -o nothing -j MASQUERADE", "iptables -t nat -S POSTROUTING | grep nothing",
			"nft delete table ip nat", []string{"nf_nat", "nf_conntrack", "nft_compat"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := loaded(t)
			run(t, c.use)
			unload(t, before)
			run(t, c.look)
			during := loaded(t)
			for _, m := range c.modules {
				if !slices.Contains(during, m) || slices.Contains(before, m) {
					t.Errorf("module %q is not one that was loaded and is kept: before %v, now %v", m, before, during)
				}
			}
			run(t, c.tidy)
			unload(t, before)
			if now := loaded(t); !slices.Equal(now, before) {
				t.Errorf("when nobody uses them, there are %v instead of %v", now, before)
			}
		})
	}
}

func loaded(t *testing.T) []string {
	t.Helper()
	all, err := kmod.Loaded()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func unload(t *testing.T, before []string) {
	t.Helper()
	if err := kmod.UnloadSince(before); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}
