package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/hostnet"
)

// Port is one of this computer's loopback that leads to a port of the machine that has the network's front. Nobody listens
// on it here: the kernel sends on what programs of this computer send to it.
type Port struct {
	At  netip.AddrPort `json:"at"`
	To  uint16         `json:"to"`
	UDP bool           `json:"udp,omitempty"`
}

func (p Port) String() string {
	return fmt.Sprintf("%s->%d/%s", p.At, p.To, p.protocol())
}

func (p Port) protocol() string {
	if p.UDP {
		return "udp"
	}
	return "tcp"
}

// number is the protocol's in IP's header.
func (p Port) number() byte {
	if p.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// Collides tells whether both are the same port of this computer.
func (p Port) Collides(other Port) bool { return p.At == other.At && p.UDP == other.UDP }

func checkPorts(n Network) error {
	for i, p := range n.Ports {
		if !loopback().Contains(p.At.Addr()) || p.At.Port() == 0 || p.To == 0 {
			return fmt.Errorf("make network of cluster %q: port %s does not lead from loopback to a machine", n.Cluster, p)
		}
		if slices.ContainsFunc(n.Ports[:i], p.Collides) {
			return fmt.Errorf("make network of cluster %q: port %s is there twice", n.Cluster, p)
		}
	}
	return nil
}

// checkPortsFree tells whether somebody else has one of the ports: another cluster, or a program that listens. It would not
// get anything any more, and not know why.
func checkPortsFree(ctx context.Context, n Network, all []*networkState) error {
	var errs []error
	for _, p := range n.Ports {
		if by := holderOf(ctx, p, n.Cluster, all); by != "" {
			errs = append(errs, fault.New("port-in-use", fmt.Sprintf("publish %s of cluster %q", p, n.Cluster),
				fmt.Errorf("%s has %s/%s on this computer", by, p.At, p.protocol()), "choose another port, or stop what has this one"))
		}
	}
	return errors.Join(errs...)
}

// holderOf says who has a port, or nothing.
func holderOf(ctx context.Context, p Port, cluster string, all []*networkState) string {
	for _, s := range all {
		if s.Network.Cluster != cluster && slices.ContainsFunc(s.Network.Ports, p.Collides) {
			return fmt.Sprintf("cluster %q", s.Network.Cluster)
		}
	}
	port := hostnet.Port{Host: p.At.Addr().String(), Port: int(p.At.Port()), UDP: p.UDP}
	switch err := port.Try(ctx); {
	case err == nil:
		return ""
	case !errors.Is(err, unix.EADDRINUSE):
		return fmt.Sprintf("something (%v)", err)
	}
	if name := port.Holder("/proc"); name != "" {
		return name
	}
	return "some program"
}

// addPublishing sends on what is sent to the published ports by programs of this computer itself: packets from elsewhere do
// not come through this hook. Machines see the gateway as the sender.
func addPublishing(c *nftables.Conn, t *nftables.Table, n Network) {
	if len(n.Ports) == 0 {
		return
	}
	bridge := bridgeName(n.Cluster)
	out := c.AddChain(natChain(t, "publish", nftables.ChainHookOutput, nftables.ChainPriorityNATDest))
	for _, p := range n.Ports {
		match := flatten(ipv4(), addressIs(destinationOffset, p.At.Addr()), portIs(p.number(), p.At.Port()))
		c.AddRule(&nftables.Rule{Table: t, Chain: out, Exprs: append(match, translate(n.Front, p.To)...)})
	}
	source := c.AddChain(natChain(t, "publish-source", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource))
	match := flatten(link(expr.MetaKeyOIFNAME, expr.CmpOpEq, bridge), ipv4(), addressIn(sourceOffset, loopback()))
	c.AddRule(&nftables.Rule{Table: t, Chain: source, Exprs: append(match, &expr.Masq{})})
}

// forgetFlows has the kernel judge anew what goes to the published ports. It remembers where a flow goes for as long as it
// lasts, which one of UDP does as long as somebody sends: to a machine that is gone, or to nobody from before. A kernel that
// cannot be told waits for their end.
func forgetFlows(n Network, protocols ...uint8) {
	if len(n.Ports) > 0 {
		_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, flows{n.Ports, protocols})
	}
}

type flows struct {
	ports     []Port
	protocols []uint8
}

var _ netlink.CustomConntrackFilter = flows{}

// MatchConntrackFlow is called for every flow of this computer.
func (f flows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to, _ := netip.AddrFromSlice(flow.Forward.DstIP)
	return slices.Contains(f.protocols, flow.Forward.Protocol) && slices.ContainsFunc(f.ports, func(p Port) bool {
		return p.UDP == (flow.Forward.Protocol == unix.IPPROTO_UDP) && p.At == netip.AddrPortFrom(to.Unmap(), flow.Forward.DstPort)
	})
}

// addBehind has this computer reach the addresses behind the front.
func addBehind(n Network, bridge netlink.Link) error {
	if !n.Behind.IsValid() {
		return nil
	}
	err := netlink.RouteReplace(&netlink.Route{
		Dst: ipNet(n.Behind), Gw: n.Front.AsSlice(), LinkIndex: bridge.Attrs().Index, Protocol: fenceProtocol, Table: unix.RT_TABLE_MAIN,
	})
	if err != nil {
		return fmt.Errorf("add route to %s by %s: %w", n.Behind, n.Front, err)
	}
	return nil
}

// checkFront wants a machine's address where something leads to one.
func checkFront(n Network) error {
	if len(n.Ports) == 0 && !n.Behind.IsValid() {
		return nil
	}
	if !n.Subnet.Contains(n.Front) || n.Front == n.Gateway || n.Behind.Contains(n.Front) {
		return fmt.Errorf("make network of cluster %q: %q cannot be its front", n.Cluster, n.Front)
	}
	if n.Behind.IsValid() && (n.Behind != n.Behind.Masked() || !n.Subnet.Contains(n.Behind.Addr()) || n.Behind.Bits() <= n.Subnet.Bits()) {
		return fmt.Errorf("make network of cluster %q: %q is not a part of subnet %q", n.Cluster, n.Behind, n.Subnet)
	}
	return nil
}
