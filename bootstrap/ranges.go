package bootstrap

import (
	"errors"
	"fmt"
	"net/netip"
)

// The ranges that kubeadm's users know.
const (
	DefaultPodCIDR     = "10.244.0.0/16"
	DefaultServiceCIDR = "10.96.0.0/16"
	DefaultDNSDomain   = "cluster.local"
)

// RangeProblem is a range of addresses that cannot be used, by the flag that sets it.
type RangeProblem struct {
	Flag  string
	Value netip.Prefix
	Err   error
}

// CheckRanges finds what is wrong with the ranges of pods and services of a cluster of at least so many nodes; subnet is
// that of the nodes, or zero.
func CheckRanges(subnet, pods, services netip.Prefix, nodes int) []RangeProblem {
	var out []RangeProblem
	bad := func(flag string, value netip.Prefix, err error) {
		if err != nil {
			out = append(out, RangeProblem{flag, value, err})
		}
	}
	bad("--pod-cidr", pods, checkPods(pods, nodes))
	bad("--service-cidr", services, checkServices(services))
	if overlap(pods, services) || overlap(subnet, pods) {
		bad("--pod-cidr", pods, fmt.Errorf("it overlaps nodes %v or services %v", subnet, services))
	}
	if overlap(subnet, services) {
		bad("--service-cidr", services, fmt.Errorf("it overlaps nodes %v", subnet))
	}
	return out
}

// checkPods wants one of Calico's blocks for each node: https://docs.tigera.io/calico/latest/reference/resources/ippool#block-sizes
func checkPods(pods netip.Prefix, nodes int) error {
	const block = 64
	if !pods.IsValid() || !pods.Addr().Is4() {
		return errors.New("it is not an IPv4 network")
	}
	if need := block * nodes; Addresses(pods) < need {
		return fmt.Errorf("it has %d addresses, these nodes need at least %d", Addresses(pods), need)
	}
	return nil
}

// checkServices wants room for the DNS service, which has the tenth address, and no more than an API server takes.
func checkServices(services netip.Prefix) error {
	if bits := services.Bits(); !services.IsValid() || !services.Addr().Is4() || bits < 12 || bits > 28 {
		return errors.New("it must be an IPv4 network with between 12 and 28 bits")
	}
	return nil
}

// Addresses is the size of an IPv4 network, 0 for none.
func Addresses(p netip.Prefix) int {
	if !p.IsValid() {
		return 0
	}
	return 1 << (p.Addr().BitLen() - p.Bits())
}

func overlap(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }
