// Package hostnet reads the network of this host: what both a node and a cluster of local machines must keep clear of.
package hostnet

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// listTries bounds how often the kernel is asked for one answer that is whole.
const listTries = 10

// List asks again when the kernel's answer was cut short because something changed meanwhile.
func List[T any](ask func() ([]T, error)) ([]T, error) {
	for range listTries {
		all, err := ask()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return ask()
}

// Routes lists the routes of all tables, as policy routing of a VPN counts too, but for default routes. The family is one
// of netlink's.
func Routes(family int) ([]netlink.Route, error) {
	every := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	all, err := List(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, every, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, err
	}
	out := all[:0]
	for i := range all {
		if !isDefault(all[i].Dst) {
			out = append(out, all[i])
		}
	}
	return out, nil
}

// isDefault also takes the two halves of the address space for a default route: VPNs set them
// to win over the real one without replacing it.
func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	ones, _ := dst.Mask.Size()
	return ones <= 1
}

// Prefix gives n with its address as it is, which need not be the first of the range.
func Prefix(n *net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}
