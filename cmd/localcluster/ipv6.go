package localcluster

import (
	"net/netip"

	"slipway.dev/slipway/bootstrap"
)

// pool6 is what machines have their IPv6 networks of: unique local addresses, https://www.rfc-editor.org/rfc/rfc4193
func pool6() netip.Prefix { return netip.MustParsePrefix("fd53:6c69::/32") }

// subnet6 is the IPv6 network of the machines that have this IPv4 one. No two clusters have the same, as no two have the same of
// the others: its address follows the prefix of the pool, and an address of a machine is the last part of its own.
func subnet6(subnet netip.Prefix) netip.Prefix {
	a := pool6().Addr().As16()
	first := subnet.Masked().Addr().As4()
	copy(a[4:], first[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

func address6(subnet netip.Prefix, address netip.Addr) netip.Addr {
	a, own := subnet6(subnet).Addr().As16(), address.As4()
	copy(a[12:], own[:])
	return netip.AddrFrom16(a)
}

// useIPv6 gives the network and the nodes of a record what they need in a cluster of both families.
func (r *Record) useIPv6() {
	k := r.Cluster.IPv6
	if !k.Pods.IsValid() {
		return
	}
	r.Network.Subnet6 = subnet6(r.Subnet)
	r.Network.Fenced = []netip.Prefix{r.Cluster.PodCIDR, r.Cluster.ServiceCIDR, k.Pods, k.Services}
	for i := range r.Nodes {
		r.number6(&r.Nodes[i])
	}
}

func (r *Record) number6(n *bootstrap.Node) {
	if r.Network.Subnet6.IsValid() {
		n.Address6 = address6(r.Subnet, n.Address)
	}
}

// onLink6 is the way to the second addresses of Services, as the kernel wants one before they are translated. It ends on the bridge.
func (r *Record) onLink6() []netip.Prefix {
	if !r.Cluster.IPv6.Services.IsValid() {
		return nil
	}
	return []netip.Prefix{r.Cluster.IPv6.Services}
}
