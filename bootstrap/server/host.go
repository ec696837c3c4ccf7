package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/internal/fault"
)

// hostName is the name of the node unless the administrator gives another.
func hostName() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the name of this host: %w", err)
	}
	return strings.ToLower(name), nil
}

// hostAddress is the address that the default route sends from, or else the only one that others can reach.
func hostAddress() (netip.Addr, error) {
	const advice = "name one with --advertise-address"
	routes, err := netlink.RouteGet(net.IPv4(192, 0, 2, 1)) // TEST-NET-1: nobody's, so that the default route answers; nothing is sent
	if err == nil && len(routes) > 0 {
		if a, ok := netip.AddrFromSlice(routes[0].Src.To4()); ok && a.IsGlobalUnicast() {
			return a, nil
		}
	}
	all, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list the addresses of this host: %w", err)
	}
	var found []netip.Addr
	for _, one := range all {
		if a, ok := netip.AddrFromSlice(one.IP.To4()); ok && a.IsGlobalUnicast() {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 0:
		return netip.Addr{}, fault.New("address-unknown", "find the address of this host",
			errors.New("it has none that others could reach"), advice)
	case 1:
		return found[0], nil
	}
	return netip.Addr{}, fault.New("address-unknown", "find the address of this host",
		fmt.Errorf("there is no default route, and it has several: %v", found), advice)
}

// inContainer tells whether the kernel and the disk are shared with others. systemd writes this file.
func inContainer() bool {
	_, err := os.Stat(bootstrap.Container)
	return err == nil
}
