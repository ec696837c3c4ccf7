package local

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// vethName names this computer's end of a machine's cable.
func vethName(cluster, name string) string { return "sl" + shortHash(12, "veth", cluster, name) }

// plugIn gives a machine its network namespace, and an eth0 in it that ends on the bridge.
func plugIn(s MachineSpec, n Network) error {
	id := machineID(s.Cluster, s.Name)
	if err := addNetns(id); err != nil {
		return err
	}
	if err := addVeth(s, id); err != nil {
		return err
	}
	err := inNetns(enterNamed(id), func() error { return configureEth0(s, n) })
	if err != nil {
		return fmt.Errorf("configure eth0 of machine %q: %w", s.Name, err)
	}
	return nil
}

func unplug(cluster, name string) error {
	return errors.Join(removeLink(vethName(cluster, name)), removeNetns(machineID(cluster, name)))
}

func addVeth(s MachineSpec, id string) error {
	bridge, err := netlink.LinkByName(bridgeName(s.Cluster))
	if err != nil {
		return fmt.Errorf("find the bridge of cluster %q: %w", s.Cluster, err)
	}
	ns, err := netns.GetFromPath(netnsPath(id))
	if err != nil {
		return fmt.Errorf("open network namespace %q: %w", id, err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = vethName(s.Cluster, s.Name)
	attrs.MTU = linkMTU
	attrs.MasterIndex = bridge.Attrs().Index
	veth := netlink.NewVeth(attrs)
	veth.PeerName = "eth0"
	veth.PeerMTU = linkMTU
	veth.PeerNamespace = netlink.NsFd(ns)
	veth.PeerHardwareAddr = hardwareAddress("eth0", s.Cluster, s.Name)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make link %q: %w", attrs.Name, err)
	}
	if err := disableIPv6(attrs.Name); err != nil {
		return err
	}
	return netlink.LinkSetUp(veth)
}

func configureEth0(s MachineSpec, n Network) error {
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if n.Subnet6.IsValid() {
		err = addAddress6(eth0, netip.PrefixFrom(s.Address6, n.Subnet6.Bits()))
	} else {
		err = disableIPv6("eth0")
	}
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(s.Address, n.Subnet.Bits()))}
	if err := netlink.AddrReplace(eth0, addr); err != nil {
		return fmt.Errorf("add %q: %w", s.Address, err)
	}
	if err := netlink.LinkSetUp(eth0); err != nil {
		return err
	}
	index := eth0.Attrs().Index
	for _, prefix := range s.OnLink {
		route := &netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: ipNet(prefix)}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("add route %q: %w", prefix, err)
		}
	}
	if !n.Egress {
		return nil
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: index, Gw: n.Gateway.AsSlice()})
}
