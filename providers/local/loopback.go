package local

import (
	"net/netip"
	"path/filepath"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// loopback is what the kernel takes no packet for, or from, by any other link, unless it is told to.
func loopback() netip.Prefix { return netip.MustParsePrefix("127.0.0.0/8") }

// opensLoopback tells whether packets go by the bridge that are from or for this computer's loopback.
func (n Network) opensLoopback() bool { return len(n.Loopback) > 0 || len(n.Ports) > 0 }

// routeLocalnet lets packets of this computer's loopback go by the bridge. It goes with the bridge.
func routeLocalnet(bridge string) error {
	return writeSysctl(filepath.Join("net/ipv4/conf", bridge, "route_localnet"), "1")
}

// addGuard drops what comes in by the bridge with an address of a loopback. The kernel itself does that no more on a link with
// route_localnet: a machine could reach what listens on this computer's loopback, or seem to be on it. It is before
// conntrack, which gives what it translates its address on the loopback.
func addGuard(c *nftables.Conn, t *nftables.Table, bridge string) {
	in := c.AddChain(&nftables.Chain{
		Name: "guard", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	for _, offset := range []uint32{sourceOffset, destinationOffset} {
		drop(c, t, in, link(expr.MetaKeyIIFNAME, expr.CmpOpEq, bridge), ipv4(), addressIn(offset, loopback()))
	}
}

// acceptLoopback is for a chain that drops what goes to other addresses than the gateway. Of what the guard let through, only
// answers from published ports and what machines may ask go to the loopback.
func acceptLoopback(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain, n Network) {
	if !n.opensLoopback() {
		return
	}
	match := flatten(link(expr.MetaKeyIIFNAME, expr.CmpOpEq, bridgeName(n.Cluster)), ipv4(), addressIn(destinationOffset, loopback()))
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictAccept})})
}

// addLoopback sends on to this computer's 127.0.0.1 what machines send to these ports of the gateway's address.
func addLoopback(c *nftables.Conn, t *nftables.Table, n Network) {
	if len(n.Loopback) == 0 {
		return
	}
	forward := c.AddChain(natChain(t, "loopback", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest))
	for _, port := range n.Loopback {
		match := flatten(link(expr.MetaKeyIIFNAME, expr.CmpOpEq, bridgeName(n.Cluster)), ipv4(),
			addressIs(destinationOffset, n.Gateway), portIs(unix.IPPROTO_TCP, port))
		c.AddRule(&nftables.Rule{Table: t, Chain: forward, Exprs: append(match, translate(netip.MustParseAddr("127.0.0.1"), port)...)})
	}
}

func natChain(t *nftables.Table, name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return &nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority}
}

const (
	destinationPortOffset = 2 // in the headers of TCP and UDP
	portLength            = 2
)

func portIs(protocol byte, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: destinationPortOffset, Len: portLength},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

func translate(to netip.Addr, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}
}
