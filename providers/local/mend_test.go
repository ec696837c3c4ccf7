package local_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/providers/local"
)

// TestMendNetwork takes a network apart, piece by piece. What is gone is named, and made again as it was.
func TestMendNetwork(t *testing.T) {
	h := needNetwork(t)
	before := takeTraces(t, h)
	shut := network("lt-shut", 0)
	open := local.Network{
		Cluster: "lt-open", Subnet: netip.MustParsePrefix("10.91.1.0/24"), Gateway: netip.MustParseAddr("10.91.1.1"), Egress: true,
		Front: netip.MustParseAddr("10.91.1.2"), Behind: netip.MustParsePrefix("10.91.1.128/25"),
	}
	h.ensure(t, shut)
	h.ensure(t, open)
	whole := takeTraces(t, h).sorted()
	bridge := strings.Fields(sh(t, "ip -o -br link | grep -o '^sl-lt-sh[^ ]*'"))[0]
	for _, damage := range []struct{ cluster, command, says string }{
		{"lt-shut", "ip link del " + bridge, "the bridge"},
		{"lt-shut", "ip addr flush dev " + bridge, "does not have the address 10.91.0.1"},
		{"lt-shut", "ip link set " + bridge + " down", "is down"},
		{"lt-shut", "nft delete table inet slipway-lt-shut", "nft table"},
		{"lt-shut", "nft flush chain inet slipway-lt-shut input", "nft table"},
		{"lt-shut", "ip route del blackhole 10.92.0.0/16 proto 83", "the fence of 10.92.0.0/16"},
		{"lt-open", "ip route del 10.91.1.128/25 proto 83", "the route to 10.91.1.128/25"},
		{"lt-open", "nft flush table inet slipway-lt-open", "nft table"},
		{"lt-open", "sysctl -qw net.ipv4.ip_forward=0", "does not forward"},
	} {
		if got := damageOf(t, h, damage.cluster); got != "" {
			t.Fatalf("before %q: %s", damage.command, got)
		}
		sh(t, damage.command)
		if got := damageOf(t, h, damage.cluster); !strings.Contains(got, damage.says) {
			t.Errorf("after %q it says %q, want %q", damage.command, got, damage.says)
		}
		h.ensure(t, shut)
		h.ensure(t, open)
		if got := damageOf(t, h, damage.cluster); got != "" {
			t.Errorf("%q is not repaired: %s", damage.command, got)
		}
		whole.compare(t, takeTraces(t, h).sorted())
	}
	if got := damageOf(t, h, "lt-none"); got != "" {
		t.Errorf("of no network it says %q", got)
	}
	h.down(t, "lt-shut")
	h.down(t, "lt-open")
	before.compare(t, takeTraces(t, h))
}

// sorted is for what comes back in another order.
func (all traces) sorted() traces {
	for _, list := range all {
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		slices.Sort(list)
	}
	return all
}

func damageOf(t *testing.T, h *host, cluster string) string {
	t.Helper()
	all, err := h.NetworkDamage(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "; ")
}
