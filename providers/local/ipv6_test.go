package local_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/providers/local"
)

// network6 is network with IPv6 besides.
func network6(cluster string, i byte, fenced ...string) local.Network {
	n := network(cluster, i)
	n.Subnet6 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x53, 15: 0}), 64)
	a := n.Subnet6.Addr().As16()
	a[7] = i
	n.Subnet6 = netip.PrefixFrom(netip.AddrFrom16(a), 64)
	for _, f := range fenced {
		n.Fenced = append(n.Fenced, netip.MustParsePrefix(f))
	}
	return n
}

// TestFences6: nothing for a cluster's second networks leaves this computer, and it has no address in them.
func TestFences6(t *testing.T) {
	h := needNetwork(t)
	before := takeTraces(t, h)
	h.ensure(t, network6("lt-a", 0, "fd00:10:244::/56", "fd00:10:96::/112"))
	h.ensure(t, network6("lt-b", 1, "fd00:10:244::/56"))
	h.ensure(t, network6("lt-b", 1, "fd00:10:244::/56"))
	for prefix, want := range map[string]int{"fd53::/64": 1, "fd53:0:0:1::/64": 1, "fd00:10:244::/56": 2, "fd00:10:96::/112": 1} {
		if got := sh(t, "ip -6 route show type blackhole proto 83 exact "+prefix); strings.Count(got, "blackhole") != want {
			t.Errorf("there are other than %d fences for %s: %q", want, prefix, got)
		}
	}
	if got := sh(t, "ip -6 -o address show scope global; ip -6 route show type unicast | grep sl- || true"); got != "" {
		t.Errorf("this computer has IPv6 on a bridge: %s", got)
	}
	sh(t, "ip -6 route del blackhole fd00:10:96::/112 proto 83")
	if got := damageOf(t, h, "lt-a"); !strings.Contains(got, "the fence of fd00:10:96::/112") {
		t.Errorf("a fence is gone, and it says %q", got)
	}
	h.ensure(t, network6("lt-a", 0, "fd00:10:244::/56", "fd00:10:96::/112"))
	if got := damageOf(t, h, "lt-a"); got != "" {
		t.Errorf("the fence was not repaired: %s", got)
	}
	wantFault(t, h.CheckNetwork(t.Context(), network6("mine", 1)), "subnet-in-use", "subnet-in-use") // of each family
	h.down(t, "lt-a")
	if got := sh(t, "ip -6 route show type blackhole proto 83"); strings.Count(got, "blackhole") != 2 {
		t.Errorf("of two clusters one went, and there is %q", got)
	}
	h.down(t, "lt-b")
	before.compare(t, takeTraces(t, h))
}

func TestBadNetwork6(t *testing.T) {
	h := newProvider(t, "none")
	wantFault(t, h.EnsureNetwork(t.Context(), network6("ok", 0, "fd53::100/120")), "subnet-overlap")
	for _, p := range []string{"10.91.0.0/24", "fd53::1/64", "::ffff:10.91.0.0/120"} {
		n := network("ok", 0)
		n.Subnet6 = netip.MustParsePrefix(p)
		if err := h.EnsureNetwork(t.Context(), n); err == nil {
			t.Errorf("%s as the IPv6 network", p)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(h.config.StateDir)); err != nil || len(left) != 0 {
		t.Errorf("bad input has changed something: %v %v", left, err)
	}
}

// TestMachines6: machines reach each other as soon as they are there, and nothing else.
func TestMachines6(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	n := network6("lt-six", 0)
	n.Egress = true // that is of IPv4
	h.ensure(t, n)
	spec := func(name string, i byte) local.MachineSpec {
		s := h.spec("lt-six", name, i)
		a := n.Subnet6.Addr().As16()
		a[15] = i
		s.Address6 = netip.AddrFrom16(a)
		return s
	}
	without := spec("two", 3)
	without.Address6 = netip.Addr{}
	if _, err := h.Create(t.Context(), without); err == nil {
		t.Error("a machine has no IPv6 address where the others have one")
	}
	one := h.create(t, spec("one", 2))
	h.create(t, spec("two", 3))
	if got := shell(t, one, "ip -6 -o address show dev eth0 tentative; ip -6 route show default"); got != "" {
		t.Errorf("an address is not usable yet, or there is a way out: %s", got)
	}
	if got := askAt6(t, one, "[fd53::3]:22"); !strings.HasPrefix(got, "SSH-2.0") {
		t.Errorf("the other machine says %q", got)
	}
	h.down(t, "lt-six", "one", "two")
	before.compare(t, takeTraces(t, h))
}

// askAt6 gives the first words of a service, or why there are none.
func askAt6(t *testing.T, m *local.Machine, address string) string {
	t.Helper()
	conn, err := m.Dial(t.Context(), "tcp6", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	greeting := make([]byte, 32)
	read, err := conn.Read(greeting)
	if err != nil {
		return err.Error()
	}
	return string(greeting[:read])
}
