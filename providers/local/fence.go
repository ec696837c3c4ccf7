package local

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/hostnet"
)

// fenceProtocol marks our routes in the kernel's table, as every routing program has a number
// of its own there.
const fenceProtocol = 83

// firstMetric begins the metrics of fences. A route's metric is part of its key, so clusters
// can fence the same prefix when each has its own. It is high so that the connected route of a
// bridge, which has metric 0, wins over the fence of the same subnet.
const firstMetric = 0x53000000

func freeMetric(others []*networkState) int {
	taken := map[int]bool{}
	for _, s := range others {
		taken[s.Metric] = true
	}
	m := firstMetric
	for taken[m] {
		m++
	}
	return m
}

// fenced are the prefixes that have one.
func (s *networkState) fenced() []netip.Prefix { return s.Network.prefixes() }

func addFences(s *networkState) error {
	for _, prefix := range s.fenced() {
		if err := netlink.RouteReplace(&netlink.Route{
			Dst:      ipNet(prefix),
			Type:     unix.RTN_BLACKHOLE,
			Protocol: fenceProtocol,
			Priority: s.Metric,
			Table:    unix.RT_TABLE_MAIN,
		}); err != nil {
			return fmt.Errorf("fence %q: %w", prefix, err)
		}
	}
	return nil
}

// removeFences removes the fences with a metric, whatever they are for.
func removeFences(metric int) error {
	routes, err := listFences()
	if err != nil {
		return err
	}
	for i := range routes {
		if routes[i].Priority != metric {
			continue
		}
		if err := netlink.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove fence %q: %w", routes[i].Dst, err)
		}
	}
	return nil
}

// listFences lists those of all clusters.
func listFences() ([]netlink.Route, error) {
	routes, err := hostnet.List(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: fenceProtocol}, netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, fmt.Errorf("list fences: %w", err)
	}
	return routes, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
