package local

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// addLoopback sends on to this computer's loopback what machines send to these ports of the gateway's address. Nothing else gets
// there: what has a loopback address as its destination before that is dropped, which the kernel, with routeLoopback, no longer does.
func addLoopback(c *nftables.Conn, t *nftables.Table, n Network) {
	fromBridge := link(expr.MetaKeyIIFNAME, expr.CmpOpEq, bridgeName(n.Cluster))
	guard := c.AddChain(&nftables.Chain{
		Name: "guard", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	drop(c, t, guard, fromBridge, ipv4(), destinationIn(netip.MustParsePrefix("127.0.0.0/8")))
	forward := c.AddChain(&nftables.Chain{
		Name: "loopback", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	for _, port := range n.Loopback {
		match := flatten(fromBridge, ipv4(), destinationIn(netip.PrefixFrom(n.Gateway, n.Gateway.BitLen())), tcpTo(port))
		c.AddRule(&nftables.Rule{Table: t, Chain: forward, Exprs: append(match,
			&expr.Immediate{Register: 1, Data: loopback().Addr().AsSlice()},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
		)})
	}
}

// acceptLoopback lets pass in a chain what addLoopback has sent on.
func acceptLoopback(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain, n Network) {
	for _, port := range n.Loopback {
		match := flatten(link(expr.MetaKeyIIFNAME, expr.CmpOpEq, bridgeName(n.Cluster)), ipv4(), destinationIn(loopback()), tcpTo(port))
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictAccept})})
	}
}

func loopback() netip.Prefix { return netip.MustParsePrefix("127.0.0.1/32") }

func destinationIn(p netip.Prefix) []expr.Any {
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - p.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destinationOffset, Len: addressLength},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: addressLength, Mask: mask, Xor: make([]byte, addressLength)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}

// portOffset is that of the destination's port in a TCP header.
const portOffset = 2

func tcpTo(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: portOffset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// routeLoopback lets packets that come through a link be for 127.0.0.1. It works in the network namespace of the calling thread.
func routeLoopback(link string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4/conf", link, "route_localnet"), []byte("1"), 0); err != nil {
		return fmt.Errorf("let machines reach ports of this computer's loopback: %w", err)
	}
	return nil
}
