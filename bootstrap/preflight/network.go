package preflight

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/hostnet"
)

// claim is a range of addresses that somebody uses on this host.
type claim struct {
	prefix netip.Prefix
	by     string // a link
	kind   string // "an address" or "a route"
}

func (c claim) String() string { return fmt.Sprintf("%s (%s of %s)", c.prefix, c.kind, c.by) }

func address(_ context.Context, f Facts) []Finding {
	out := plausible(f)
	links, err := addressesOfHost()
	if err != nil {
		return append(out, problem("the addresses of this host cannot be listed: %v", err))
	}
	if linkWith(links, f.Address) == nil {
		out = append(out, problem("the node's address %s is on no link of this host", f.Address).
			advise("choose one of %s, or give it to a link", candidates(links)))
	}
	if f.Resuming {
		return out // the interrupted run has made addresses and routes in these ranges
	}
	routes, err := routesOfHost(links)
	if err != nil {
		return append(out, problem("the routes of this host cannot be listed: %v", err))
	}
	return append(out, overlaps(f, append(claims(links), routes...))...)
}

// plausible looks at the node's address by itself.
func plausible(f Facts) []Finding {
	a := f.Address
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() {
		return []Finding{problem("the node's address %s is none that other nodes could reach", a)}
	}
	var out []Finding
	for _, r := range f.ranges() {
		if r.prefix.Contains(a) {
			out = append(out, problem("the node's address %s is in the range of %s, %s", a, r.kind, r.prefix))
		}
	}
	return out
}

// ranges are those that will be used inside the cluster.
func (f Facts) ranges() []claim {
	all := []claim{{prefix: f.PodCIDR, kind: "pods"}, {prefix: f.ServiceCIDR, kind: "services"}}
	return slices.DeleteFunc(all, func(c claim) bool { return !c.prefix.IsValid() })
}

func overlaps(f Facts, used []claim) []Finding {
	var out []Finding
	for _, r := range f.ranges() {
		var by []string
		for _, c := range used {
			if r.prefix.Overlaps(c.prefix) && !slices.Contains(by, c.String()) {
				by = append(by, c.String())
			}
		}
		if slices.Sort(by); len(by) > 0 {
			out = append(out, problem("the range of %s, %s, is in use on this host: %s", r.kind, r.prefix, strings.Join(by, ", ")).
				advise("choose another range, or remove what uses it"))
		}
	}
	return out
}

// link is one of this host's, with its addresses.
type link struct {
	net.Interface
	addresses []netip.Prefix
}

func addressesOfHost() ([]link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := make([]link, 0, len(all))
	for i := range all {
		l := link{Interface: all[i]}
		addresses, err := all[i].Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok {
				l.addresses = append(l.addresses, hostnet.Prefix(n))
			}
		}
		out = append(out, l)
	}
	return out, nil
}

func linkWith(links []link, a netip.Addr) *link {
	for i := range links {
		if slices.ContainsFunc(links[i].addresses, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return &links[i]
		}
	}
	return nil
}

// candidates are the addresses that a node could have.
func candidates(links []link) string {
	var out []string
	for _, l := range links {
		for _, p := range l.addresses {
			if a := p.Addr(); !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				out = append(out, a.String())
			}
		}
	}
	if len(out) == 0 {
		return "this host's, which has none yet"
	}
	return strings.Join(out, ", ")
}

func claims(links []link) []claim {
	var out []claim
	for _, l := range links {
		for _, p := range l.addresses {
			out = append(out, claim{p.Masked(), l.Name, "an address"})
		}
	}
	return out
}

// routesOfHost leaves out what the kernel makes by itself for each address.
func routesOfHost(links []link) ([]claim, error) {
	all, err := hostnet.Routes(netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var out []claim
	for i := range all {
		r := &all[i]
		if r.Protocol == unix.RTPROT_KERNEL {
			continue
		}
		by := names[r.LinkIndex]
		if by == "" {
			by = "no link"
		}
		out = append(out, claim{hostnet.Prefix(r.Dst).Masked(), by, "a route"})
	}
	return out, nil
}

// IPv6 needs packets of 1280 bytes, and VXLAN puts 50 bytes around each: https://www.rfc-editor.org/rfc/rfc7348
// Links that are themselves tunnels, as clouds have, still leave 1450.
const (
	mtuLeast  = 1280 + 50
	mtuCommon = 1450
)

func mtu(_ context.Context, f Facts) []Finding {
	links, err := addressesOfHost()
	if err != nil {
		return []Finding{problem("the links of this host cannot be listed: %v", err)}
	}
	l := linkWith(links, f.Address)
	switch {
	case l == nil: // the check named address says so
	case l.MTU < mtuLeast:
		return []Finding{problem("the link %s takes packets of %d bytes at most; pods need %d", l.Name, l.MTU, mtuLeast)}
	case l.MTU < mtuCommon:
		return []Finding{warning("the link %s takes packets of %d bytes at most; less than %d is seldom meant so", l.Name, l.MTU, mtuCommon)}
	}
	return nil
}
