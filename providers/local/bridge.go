package local

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

const linkMTU = 1500

// bridgeName begins like the cluster's name, for people, and ends in a hash, as the kernel
// allows only 15 bytes.
func bridgeName(cluster string) string {
	return "sl-" + cluster[:min(len(cluster), 5)] + "-" + shortHash(6, "bridge", cluster)
}

// hardwareAddress gives a locally administered address that stays the same when the thing is
// made again, so that no neighbour's cache goes stale.
func hardwareAddress(parts ...string) net.HardwareAddr {
	tail, _ := hex.DecodeString(shortHash(10, parts...))
	return append(net.HardwareAddr{0x02}, tail...)
}

func addBridge(n Network) error {
	name := bridgeName(n.Cluster)
	if err := ensureBridge(name, n.Cluster); err != nil {
		return fmt.Errorf("make bridge %q: %w", name, err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find bridge %q: %w", name, err)
	}
	if err := disableIPv6(name); err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(n.Gateway, n.Subnet.Bits()))}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("give bridge %q the address %q: %w", name, n.Gateway, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set bridge %q up: %w", name, err)
	}
	if n.opensLoopback() {
		if err := routeLocalnet(name); err != nil {
			return err
		}
	}
	return addBehind(n, link)
}

func ensureBridge(name, cluster string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.MTU = linkMTU
	attrs.HardwareAddr = hardwareAddress("bridge", cluster) // else it changes with its ports
	snooping := false                                       // nobody queries here, and reports are only noise
	err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func hasBridge(cluster string) bool {
	_, err := netlink.LinkByName(bridgeName(cluster))
	return err == nil
}

func removeBridge(cluster string) error { return removeLink(bridgeName(cluster)) }

func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove link %q: %w", name, err)
	}
	return nil
}

// disableIPv6 keeps router solicitations and the like off a link. It works in the network
// namespace of the calling thread.
func disableIPv6(link string) error {
	err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", link, "disable_ipv6"), []byte("1"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // absent: a kernel without IPv6
		return fmt.Errorf("disable IPv6 on %q: %w", link, err)
	}
	return nil
}
