package bootstrap

import (
	"errors"
	"fmt"
	"net/netip"
)

// IPv6 are the second networks of a cluster that has both families, or zero. The first ones are IPv4's: in these the API
// server, etcd, the DNS service and the service "kubernetes" are reached.
type IPv6 struct {
	Pods     netip.Prefix `json:"pods"`
	Services netip.Prefix `json:"services"`
}

// The second networks that Kubernetes' own documents have beside the default ones. There is no default: IPv6 is asked for.
const (
	UsualPodCIDR6     = "fd00:10:244::/56"
	UsualServiceCIDR6 = "fd00:10:96::/112"
)

// PodCIDRs is one network of pods, or one of each family, as flags have them.
func (c Cluster) PodCIDRs() string { return joined(c.PodCIDR, c.IPv6.Pods) }

// ServiceCIDRs is that of services.
func (c Cluster) ServiceCIDRs() string { return joined(c.ServiceCIDR, c.IPv6.Services) }

func joined(first, second netip.Prefix) string {
	if !second.IsValid() {
		return first.String()
	}
	return first.String() + "," + second.String()
}

// Addresses are the node's, one or two. The first is the one that it advertises.
func (n Node) Addresses() []netip.Addr {
	if !n.Address6.IsValid() {
		return []netip.Addr{n.Address}
	}
	return []netip.Addr{n.Address, n.Address6}
}

// CheckIPv6 finds what is wrong with the second networks of a cluster of at least so many nodes, which are in a part of taken.
func CheckIPv6(taken netip.Prefix, n IPv6, nodes int) []RangeProblem {
	const podFlag, serviceFlag = "--pod-cidr", "--service-cidr"
	switch {
	case !n.Pods.IsValid() && !n.Services.IsValid():
		return nil
	case !n.Services.IsValid():
		return []RangeProblem{{podFlag, n.Pods, errors.New("services have no IPv6 network: give them one too, or neither")}}
	case !n.Pods.IsValid():
		return []RangeProblem{{serviceFlag, n.Services, errors.New("pods have no IPv6 network: give them one too, or neither")}}
	}
	var out []RangeProblem
	bad := func(flag string, value netip.Prefix, err error) {
		if err != nil {
			out = append(out, RangeProblem{flag, value, err})
		}
	}
	bad(podFlag, n.Pods, checkPods6(n.Pods, nodes))
	bad(serviceFlag, n.Services, checkServices6(n.Services))
	if n.Pods.Overlaps(n.Services) || n.Pods.Overlaps(taken) {
		bad(podFlag, n.Pods, fmt.Errorf("it overlaps nodes %v or services %v", taken, n.Services))
	}
	if n.Services.Overlaps(taken) {
		bad(serviceFlag, n.Services, fmt.Errorf("it overlaps nodes %v", taken))
	}
	return out
}

// checkPods6 wants one of Calico's blocks, of 64 addresses, for each node. More than a site has of its own nobody means.
func checkPods6(pods netip.Prefix, nodes int) error {
	const site, block = 48, 122
	if bits := pods.Bits(); !unicast6(pods) || bits < site || bits > block {
		return fmt.Errorf("it must be an IPv6 network with between %d and %d bits", site, block)
	}
	if blocks := block - pods.Bits(); blocks < 31 && nodes > 1<<blocks {
		return fmt.Errorf("it has blocks of 64 addresses for %d nodes, and these are %d", 1<<blocks, nodes)
	}
	return nil
}

// checkServices6 wants as much room as checkServices. The API server takes no network of more than 2^20 addresses.
func checkServices6(services netip.Prefix) error {
	if bits := services.Bits(); !unicast6(services) || bits < 108 || bits > 124 {
		return errors.New("it must be an IPv6 network with between 108 and 124 bits")
	}
	return nil
}

func unicast6(p netip.Prefix) bool {
	a := p.Addr()
	return a.Is6() && !a.Is4In6() && a.IsGlobalUnicast()
}
