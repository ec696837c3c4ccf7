package preflight

import (
	"context"
	"net"
	"net/netip"
	"slices"
)

func virtualIP(ctx context.Context, f Facts) []Finding {
	if !f.VirtualIP.IsValid() {
		return nil
	}
	links, err := addressesOfHost()
	if err != nil {
		return []Finding{problem("the addresses of this host cannot be listed: %v", err)}
	}
	if l := linkWith(links, f.VirtualIP); l != nil && !f.Resuming {
		return []Finding{problem("the virtual IP %s is on link %s of this host already", f.VirtualIP, l.Name).
			advise("choose one that no host has, or take it off the link: control planes give it to each other")}
	}
	i := slices.IndexFunc(links, func(l link) bool { return l.Name == f.VirtualIPLink })
	if i < 0 {
		return []Finding{problem("there is no link %q that could have the virtual IP %s", f.VirtualIPLink, f.VirtualIP).
			advise("name one with --virtual-ip-interface")}
	}
	l := links[i]
	if found := l.suits(f.VirtualIP); found != nil {
		return found
	}
	if f.VirtualIPHeld {
		return nil
	}
	holder, err := holderOf(ctx, l.Interface, f.VirtualIP)
	switch {
	case err != nil:
		return []Finding{warning("whether the virtual IP %s is in use cannot be asked on link %s: %v", f.VirtualIP, l.Name, err)}
	case holder != nil:
		return []Finding{problem("the virtual IP %s is in use already, by the host with the hardware address %s on link %s",
			f.VirtualIP, holder, l.Name)}
	}
	return nil
}

// suits says why hosts of the link's network would not find an address there.
func (l link) suits(a netip.Addr) []Finding {
	if l.Flags&net.FlagUp == 0 || l.Flags&net.FlagBroadcast == 0 || len(l.HardwareAddr) == 0 {
		return []Finding{problem("the link %s is no Ethernet that is up, on which an address could move from host to host", l.Name).
			advise("name another link with --virtual-ip-interface")}
	}
	var subnets []string
	for _, p := range l.addresses {
		if p.Contains(a) && a != p.Masked().Addr() && a != lastOf(p) {
			return nil
		}
		if p.Addr().Is4() {
			subnets = append(subnets, p.Masked().String())
		}
	}
	return []Finding{problem("the virtual IP %s is no host's address in the network of link %s: %v", a, l.Name, subnets).
		advise("choose an address of that network, or name another link with --virtual-ip-interface")}
}

// lastOf is the address by which all hosts of an IPv4 network are meant.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}
