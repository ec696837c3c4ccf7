package local

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A cluster with two networks of each kind has its IPv6 on the bridge only. This computer has no address there and passes
// nothing on, so IPv6 leads out of no cluster, with egress or without, and no setting of this computer is changed for it.

// subnets are the machines' own, one or two.
func (n Network) subnets() []netip.Prefix {
	if !n.Subnet6.IsValid() {
		return []netip.Prefix{n.Subnet}
	}
	return []netip.Prefix{n.Subnet, n.Subnet6}
}

// prefixes are all that the cluster uses, none of which may lead anywhere else.
func (n Network) prefixes() []netip.Prefix { return append(n.subnets(), n.Fenced...) }

// overlapping gives the subnet of machines that a prefix overlaps, if it does.
func (n Network) overlapping(p netip.Prefix) netip.Prefix {
	for _, mine := range n.subnets() {
		if mine.Overlaps(p) {
			return mine
		}
	}
	return netip.Prefix{}
}

func checkSubnet6(n Network) error {
	if p := n.Subnet6; p.IsValid() && (!p.Addr().Is6() || p.Addr().Is4In6() || p != p.Masked()) {
		return fmt.Errorf("make network of cluster %q: %q is not an IPv6 subnet", n.Cluster, p)
	}
	return nil
}

// checkAddress6 wants an address of the second network, or none where there is none.
func checkAddress6(n Network, a netip.Addr) error {
	if n.Subnet6.IsValid() == a.IsValid() && (!a.IsValid() || n.Subnet6.Contains(a)) {
		return nil
	}
	return fmt.Errorf("its cluster has the IPv6 network %v, and it has the IPv6 address %v", n.Subnet6, a)
}

// checkKernel6 tells whether machines can have IPv6.
func checkKernel6(n Network) error {
	if !n.Subnet6.IsValid() {
		return nil
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return missing("IPv6", errors.New("it was switched off when the computer was started, or the kernel is without it"),
			"start it without ipv6.disable=1, or give the cluster IPv4 networks only")
	}
	return nil
}

// addAddress6 makes an address usable at once. Without duplicate address detection nothing waits a second or two for it, here and
// on the links that the network of pods makes; nobody advertises routers on the bridge, so none are asked for.
func addAddress6(link netlink.Link, p netip.Prefix) error {
	name := link.Attrs().Name
	for _, of := range []string{"all", "default", name} {
		for _, s := range []struct{ key, value string }{
			{"accept_dad", "0"}, {"accept_ra", "0"}, {"autoconf", "0"}, {"router_solicitations", "0"}, {"disable_ipv6", "0"},
		} {
			if err := writeSysctl("net/ipv6/conf/"+of+"/"+s.key, s.value); err != nil {
				return err
			}
		}
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("add %q: %w", p, err)
	}
	return nil
}
