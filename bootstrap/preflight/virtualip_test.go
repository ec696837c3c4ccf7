package preflight_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"slipway.dev/slipway/bootstrap/preflight"
)

// neighbour gives the other end of a link an address, and with it somebody who answers.
func neighbour(t *testing.T, link, address string) net.HardwareAddr {
	t.Helper()
	peer, err := netlink.LinkByName(link + "p")
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(address)
	if err == nil {
		err = netlink.AddrAdd(peer, a)
	}
	if err == nil {
		err = netlink.LinkSetUp(peer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return peer.Attrs().HardwareAddr
}

func TestVirtualIP(t *testing.T) {
	needRoot(t)
	addLink(t, "test0", "198.51.100.2/24", 1500)
	neighbour(t, "test0", "203.0.113.9/32") // which brings it up
	facts := func(address, link string) preflight.Facts {
		f := onNetwork("198.51.100.2")
		if address != "" {
			f.VirtualIP, f.VirtualIPLink = netip.MustParseAddr(address), link
		}
		return f
	}
	expect(t, look(t, "virtual-ip", facts("", "")))
	expect(t, look(t, "virtual-ip", facts("198.51.100.100", "test0")))
	expect(t, look(t, "virtual-ip", facts("198.51.100.2", "test0")), problem("on link test0 of this host already"))
	expect(t, look(t, "virtual-ip", facts("198.51.100.100", "test9")), problem(`no link "test9"`))
	expect(t, look(t, "virtual-ip", facts("198.51.100.100", "lo")), problem("no Ethernet"))
	for _, a := range []string{"198.51.101.1", "198.51.100.0", "198.51.100.255"} {
		expect(t, look(t, "virtual-ip", facts(a, "test0")), problem(a+" is no host's address in the network of link test0: [198.51.100.0/24]"))
	}
}

// TestAddressInUse asks the other end of a link, which answers for its own address only.
func TestAddressInUse(t *testing.T) {
	needRoot(t)
	addLink(t, "test0", "198.51.100.2/24", 1500)
	want := neighbour(t, "test0", "198.51.100.100/32")
	l, err := net.InterfaceByName("test0")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := preflight.HolderOf(t.Context(), *l, netip.MustParseAddr("198.51.100.100")); err != nil || got.String() != want.String() {
		t.Errorf("it is said to be at %v, %v, want %v", got, err, want)
	}
	if got, err := preflight.HolderOf(t.Context(), *l, netip.MustParseAddr("198.51.100.101")); err != nil || got != nil {
		t.Errorf("nobody's address is said to be at %v, %v", got, err)
	}
}
