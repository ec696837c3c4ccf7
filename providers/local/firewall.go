package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func firewallTable(cluster string) *nftables.Table {
	return &nftables.Table{Name: "slipway-" + cluster, Family: nftables.TableFamilyINet}
}

// addFirewall puts the rules of a cluster in place in one step, replacing older ones.
func addFirewall(n Network) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nf_tables: %w", err)
	}
	t := firewallTable(n.Cluster)
	c.AddTable(t) // deleting what is not there would fail
	c.DelTable(t)
	c.AddTable(t)
	if n.Egress {
		addMasquerade(c, t, n)
	} else {
		addSeclusion(c, t, n)
	}
	if n.opensLoopback() {
		addGuard(c, t, bridgeName(n.Cluster))
	}
	addLoopback(c, t, n)
	addPublishing(c, t, n)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write nft table %q: %w", t.Name, err)
	}
	return nil
}

func removeFirewall(cluster string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nf_tables: %w", err)
	}
	t := firewallTable(cluster)
	c.DelTable(t)
	if err := c.Flush(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove nft table %q: %w", t.Name, err)
	}
	return nil
}

// addSeclusion lets nothing pass between the bridge and any other link. Where bridge netfilter
// is on, frames between two machines come through the forward hook too, with the bridge as both
// links, and no rule matches them. Of this computer itself, machines reach only the gateway's
// address, not what it has on other links.
func addSeclusion(c *nftables.Conn, t *nftables.Table, n Network) {
	bridge := bridgeName(n.Cluster)
	forward := c.AddChain(filterChain(t, "forward", nftables.ChainHookForward))
	drop(c, t, forward, link(expr.MetaKeyIIFNAME, expr.CmpOpEq, bridge), link(expr.MetaKeyOIFNAME, expr.CmpOpNeq, bridge))
	drop(c, t, forward, link(expr.MetaKeyIIFNAME, expr.CmpOpNeq, bridge), link(expr.MetaKeyOIFNAME, expr.CmpOpEq, bridge))
	input := c.AddChain(filterChain(t, "input", nftables.ChainHookInput))
	acceptLoopback(c, t, input, n)
	drop(c, t, input, link(expr.MetaKeyIIFNAME, expr.CmpOpEq, bridge), ipv4(), destinationIsNot(n))
}

// addMasquerade hides machines behind this computer's address on their way out.
func addMasquerade(c *nftables.Conn, t *nftables.Table, n Network) {
	chain := c.AddChain(natChain(t, "postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource))
	match := flatten(link(expr.MetaKeyOIFNAME, expr.CmpOpNeq, bridgeName(n.Cluster)), ipv4(), addressIn(sourceOffset, n.Subnet))
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(match, &expr.Masq{})})
}

func filterChain(t *nftables.Table, name string, hook *nftables.ChainHook) *nftables.Chain {
	return &nftables.Chain{
		Name: name, Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: hook, Priority: nftables.ChainPriorityFilter,
	}
}

func drop(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain, matches ...[]expr.Any) {
	exprs := append(flatten(matches...), &expr.Verdict{Kind: expr.VerdictDrop})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs})
}

func flatten(matches ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, m := range matches {
		out = append(out, m...)
	}
	return out
}

func link(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	padded := append([]byte(name), bytes.Repeat([]byte{0}, unix.IFNAMSIZ-len(name))...)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: padded},
	}
}

func ipv4() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
	}
}

// Offsets of the addresses in an IPv4 header.
const (
	sourceOffset      = 12
	destinationOffset = 16
	addressLength     = 4
)

func addressIn(offset uint32, p netip.Prefix) []expr.Any {
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - p.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: addressLength},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: addressLength, Mask: mask, Xor: make([]byte, addressLength)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}

func addressIs(offset uint32, a netip.Addr) []expr.Any {
	return compareAddress(offset, expr.CmpOpEq, a)
}

func destinationIsNot(n Network) []expr.Any {
	return compareAddress(destinationOffset, expr.CmpOpNeq, n.Gateway)
}

func compareAddress(offset uint32, op expr.CmpOp, a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: addressLength},
		&expr.Cmp{Op: op, Register: 1, Data: a.AsSlice()},
	}
}
