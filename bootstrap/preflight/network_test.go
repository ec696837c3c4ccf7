package preflight_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"slipway.dev/slipway/bootstrap/preflight"
)

// addLink makes a link with an address, for as long as the test runs.
func addLink(t *testing.T, name, addr string, mtu int) netlink.Link {
	t.Helper()
	attrs := netlink.LinkAttrs{Name: name, MTU: mtu}
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "p"}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.LinkDel(link); err != nil {
			t.Error(err)
		}
	})
	a, err := netlink.ParseAddr(addr)
	if err == nil {
		err = netlink.AddrAdd(link, a)
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func addRoute(t *testing.T, link netlink.Link, dst, via string, table int) {
	t.Helper()
	_, to, err := net.ParseCIDR(dst)
	if err != nil {
		t.Fatal(err)
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Gw: net.ParseIP(via), Table: table}
	if err := netlink.RouteAdd(r); err != nil {
		t.Fatal(err)
	}
}

func onNetwork(address string) preflight.Facts {
	return preflight.Facts{
		Address: netip.MustParseAddr(address),
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12"),
	}
}

func TestAddress(t *testing.T) {
	needRoot(t)
	link := addLink(t, "test0", "198.51.100.2/24", 1500)
	addRoute(t, link, "0.0.0.0/0", "198.51.100.1", 0)
	addRoute(t, link, "0.0.0.0/1", "198.51.100.1", 0) // a VPN's
	expect(t, look(t, "address", onNetwork("198.51.100.2")))

	missing := look(t, "address", onNetwork("198.51.100.3"))
	expect(t, missing, problem("198.51.100.3 is on no link"))
	if want := "choose one of 198.51.100.2, or give it to a link"; len(missing) == 1 && missing[0].Advice != want {
		t.Errorf("advice %q, want %q", missing[0].Advice, want)
	}
	for _, a := range []string{"127.0.0.1", "::1"} {
		expect(t, look(t, "address", onNetwork(a)), problem("none that other nodes could reach"))
	}
	for _, a := range []string{"169.254.1.1", "0.0.0.0", "224.0.0.5"} {
		expect(t, look(t, "address", onNetwork(a)), problem("none that other nodes could reach"), problem("on no link"))
	}
	f := onNetwork("198.51.100.2")
	f.Address = netip.Addr{}
	expect(t, look(t, "address", f), problem("none that"), problem("on no link"))
}

func TestAddressInRange(t *testing.T) {
	needRoot(t)
	addLink(t, "test0", "10.100.0.7/24", 1500)
	f := onNetwork("10.100.0.7")
	expect(t, look(t, "address", f), problem("in the range of services, 10.96.0.0/12"), problem("in use on this host: 10.100.0.0/24 (an address of test0)"))
	f.Resuming = true
	expect(t, look(t, "address", f), problem("in the range of services"))
}

func TestRangesInUse(t *testing.T) {
	needRoot(t)
	link := addLink(t, "test0", "198.51.100.2/24", 1500)
	addLink(t, "test1", "10.96.9.1/24", 1500)
	addRoute(t, link, "10.244.7.0/24", "198.51.100.1", 0)
	addRoute(t, link, "10.244.8.0/24", "198.51.100.1", 51820) // policy routing
	f := onNetwork("198.51.100.2")
	expect(t, look(t, "address", f),
		problem("pods, 10.244.0.0/16, is in use on this host: 10.244.7.0/24 (a route of test0), 10.244.8.0/24 (a route of test0)"),
		problem("services, 10.96.0.0/12, is in use on this host: 10.96.9.0/24 (an address of test1)"))
	f.Resuming = true
	expect(t, look(t, "address", f))
}

func TestMTU(t *testing.T) {
	needRoot(t)
	for mtu, want := range map[int][]want{
		1500: nil,
		1450: nil,
		1449: {warned("test0 takes packets of 1449")},
		1330: {warned("1330")},
		1329: {problem("test0 takes packets of 1329")},
	} {
		t.Run("", func(t *testing.T) {
			addLink(t, "test0", "198.51.100.2/24", mtu)
			expect(t, look(t, "mtu", onNetwork("198.51.100.2")), want...)
			expect(t, look(t, "mtu", onNetwork("198.51.100.3"))) // of no link
		})
	}
}

func TestHostname(t *testing.T) {
	root := tree{"etc/hosts": "127.0.0.1 localhost\n192.0.2.1 node-1.example node-1 # node-2.invalid\n#192.0.2.3 node-3.invalid\n"}.make(t)
	for name, want := range map[string][]want{
		"node-1":           nil,
		"node-1.example":   nil,
		"localhost":        nil,
		"node-2.invalid":   {warned("cannot be resolved")}, // a name of RFC 6761
		"node-3.invalid":   {warned("cannot be resolved")},
		"Node-1":           {problem("cannot be the name")},
		"":                 {problem("cannot be the name")},
		"node_1":           {problem("cannot be the name")},
		"node-1.example..": {problem("cannot be the name")},
	} {
		expect(t, look(t, "hostname", preflight.Facts{NodeName: name, Root: root}), want...)
	}
}

func TestClock(t *testing.T) {
	at := func(d time.Duration) preflight.Facts {
		return preflight.Facts{ClusterTime: func(context.Context) (time.Time, error) { return time.Now().Add(d), nil }}
	}
	expect(t, look(t, "clock", preflight.Facts{}))
	expect(t, look(t, "clock", at(0)))
	expect(t, look(t, "clock", at(50*time.Second)))
	expect(t, look(t, "clock", at(-50*time.Second)))
	expect(t, look(t, "clock", at(-61*time.Second)), problem("in the cluster"))
	expect(t, look(t, "clock", at(time.Hour)), problem("in the cluster"))
	fixed := preflight.Facts{ClusterTime: func(context.Context) (time.Time, error) {
		return time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), nil
	}}
	expect(t, look(t, "clock", fixed), problem("Z here and 2001-02-03T04:05:06Z in the cluster"))
	failing := preflight.Facts{ClusterTime: func(context.Context) (time.Time, error) { return time.Time{}, errors.New("no route") }}
	expect(t, look(t, "clock", failing), warned("no route"))
}
