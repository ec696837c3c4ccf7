package localcluster

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/settings"
	"slipway.dev/slipway/providers/local"
)

// nodePorts are those that an API server with these settings gives to Services of type NodePort.
func nodePorts(s settings.Settings) utilnet.PortRange {
	if asked, err := utilnet.ParsePortRange(s.APIServer["service-node-port-range"]); err == nil && asked.Size > 0 {
		return *asked
	}
	return utilnet.PortRange{Base: 30000, Size: 2768} // what it says of another value, it says itself
}

// ports are those to publish. The settings of a snapshot are not known before it is looked at.
func (o Options) ports() ([]local.Port, map[string]error) {
	if o.From != "" {
		return parsePorts(o.Publish, anyPort())
	}
	return o.portsOf(o.Settings)
}

func (o Options) portsOf(s settings.Settings) ([]local.Port, map[string]error) {
	return parsePorts(o.Publish, nodePorts(s))
}

func anyPort() utilnet.PortRange { return utilnet.PortRange{Base: 1, Size: 65535} }

// parsePorts reads ports to publish, [ADDRESS:]PORT:NODEPORT[/PROTOCOL], in the order of their numbers, and gives what is wrong
// with each one that is wrong.
func parsePorts(texts []string, nodePorts utilnet.PortRange) ([]local.Port, map[string]error) {
	var ports []local.Port
	bad := map[string]error{}
	for _, text := range texts {
		p, err := parsePort(text, nodePorts)
		switch {
		case err != nil:
			bad[text] = err
		case slices.ContainsFunc(ports, p.Collides):
			bad[text] = fmt.Errorf("%s/%s is there twice", p.At, protocolOf(p))
		default:
			ports = append(ports, p)
		}
	}
	slices.SortFunc(ports, func(a, b local.Port) int {
		return cmp.Or(cmp.Compare(a.At.Port(), b.At.Port()), a.At.Compare(b.At), strings.Compare(protocolOf(a), protocolOf(b)))
	})
	return ports, bad
}

func protocolOf(p local.Port) string {
	if p.UDP {
		return "udp"
	}
	return "tcp"
}

func parsePort(text string, nodePorts utilnet.PortRange) (local.Port, error) {
	var p local.Port
	numbers, protocol, named := strings.Cut(text, "/")
	if named && protocol != "tcp" && protocol != "udp" {
		return p, fmt.Errorf("%q is neither tcp nor udp", protocol)
	}
	p.UDP = protocol == "udp"
	address := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	here, there, ok := cutLast(numbers)
	if !ok {
		return p, errors.New("it is not [ADDRESS:]PORT:NODEPORT")
	}
	if host, port, ok := cutLast(here); ok {
		var err error
		if address, err = netip.ParseAddr(strings.Trim(host, "[]")); err != nil {
			return p, fmt.Errorf("%q is not an address", host)
		}
		here = port
	}
	if !address.Is4() || !address.IsLoopback() {
		return p, fmt.Errorf("%s is not an IPv4 address of the loopback, and ports are published on no other", address)
	}
	from, err := portIn(here, anyPort(), "a port")
	to, failed := portIn(there, nodePorts, "the port of a NodePort Service")
	p.At, p.To = netip.AddrPortFrom(address, from), to
	return p, errors.Join(err, failed)
}

// cutLast cuts at the last colon: an IPv6 address has others.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func portIn(text string, all utilnet.PortRange, what string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || !all.Contains(int(n)) {
		return 0, fmt.Errorf("%q is not %s, which is %d to %d", text, what, all.Base, all.Base+all.Size-1)
	}
	return uint16(n), nil
}

// Ports are the published ones, as people read them.
func (c *Cluster) Ports() []string {
	var out []string
	for _, p := range c.Network.Ports {
		out = append(out, p.String())
	}
	return out
}

// reservedPart is the share of a subnet that is for Services of type LoadBalancer: an eighth, at most reservedMost.
const (
	reservedPart = 8
	reservedMost = 32
)

// reserved is a part of the subnet for the addresses of Services of type LoadBalancer: the last but one of its size, as the last
// one has the broadcast address and the one that control planes share. A subnet that is too small for it has none.
func reserved(subnet netip.Prefix) netip.Prefix {
	size := min(bootstrap.Addresses(subnet)/reservedPart, reservedMost)
	if size < 2 {
		return netip.Prefix{}
	}
	bits := 32
	for n := size; n > 1; n /= 2 {
		bits--
	}
	first := sharedAddress(subnet).Addr()
	for range size {
		first = first.Prev()
	}
	return netip.PrefixFrom(first, bits).Masked()
}

// afterNodes is the first address behind those that nodes can have.
func afterNodes(subnet netip.Prefix) netip.Addr {
	if r := reserved(subnet); r.IsValid() {
		return r.Addr()
	}
	return sharedAddress(subnet).Addr()
}
