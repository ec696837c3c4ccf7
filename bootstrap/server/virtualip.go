package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
)

// checkVirtualIP says why an address cannot be the virtual IP of the cluster, as far as that can be said without the host.
func (o InitOptions) checkVirtualIP() error {
	bad := func(format string, args ...any) error {
		return fault.New("option-invalid", fmt.Sprintf("use --virtual-ip %v", o.VirtualIP), fmt.Errorf(format, args...),
			"see `slipway init --help`")
	}
	a := o.VirtualIP.Addr()
	switch {
	case !o.VirtualIP.IsValid():
		if o.VirtualIPInterface != "" {
			return fault.New("option-invalid", fmt.Sprintf("use --virtual-ip-interface %q", o.VirtualIPInterface),
				errors.New("there is no --virtual-ip that it would get"), "leave it out, or name an address")
		}
		return nil
	case !a.Is4() || !a.IsGlobalUnicast():
		return bad("it is no IPv4 address that a host could have")
	case o.PodCIDR.Contains(a) || o.ServiceCIDR.Contains(a):
		return bad("it is in the range of pods, %s, or of services, %s", o.PodCIDR, o.ServiceCIDR)
	}
	return nil
}

// endpoint is where the API is reached: at the virtual IP, unless the administrator says otherwise.
func (o InitOptions) endpoint(own netip.Addr) (string, error) {
	if o.VirtualIP.IsValid() {
		own = o.VirtualIP.Addr()
	}
	return endpointOf(o.Endpoint, own)
}

// placeVirtualIP finds the link that may get the cluster's virtual IP on this control plane.
func (h Host) placeVirtualIP(n *bootstrap.Node, c bootstrap.Cluster, b *images.Bundle) error {
	switch holds := n.ControlPlane && c.VirtualIP.IsValid(); {
	case !holds && h.VirtualIPInterface != "":
		return fault.New("option-invalid", fmt.Sprintf("use --virtual-ip-interface %q", h.VirtualIPInterface),
			errors.New("this is no control plane of a cluster with a virtual IP"), "leave it out")
	case !holds:
		return nil
	}
	if _, err := b.Component("keepalived"); err != nil {
		return fault.New("bundle-incomplete", fmt.Sprintf("hold the virtual IP %s", c.VirtualIP.Addr()),
			fmt.Errorf("the bundle %q is an older one, without keepalived", b.Dir()), "build it again with `slipway images build`")
	}
	n.VirtualIPInterface = h.VirtualIPInterface
	if n.VirtualIPInterface == "" {
		n.VirtualIPInterface = linkWith(n.Address)
	}
	return nil
}

// linkWith names the link that has an address, if one does.
func linkWith(a netip.Addr) string {
	all, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return ""
	}
	for _, one := range all {
		if !one.IP.Equal(a.AsSlice()) {
			continue
		}
		if link, err := net.InterfaceByIndex(one.LinkIndex); err == nil {
			return link.Name
		}
	}
	return ""
}
