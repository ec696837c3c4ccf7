package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/hostnet"
)

// claim is a range of addresses that somebody uses on this computer.
type claim struct {
	prefix netip.Prefix
	by     string
}

// CheckNetwork tells whether the addresses and ports of a network are free on this computer, changing
// nothing. What the cluster itself made already is no obstacle, nor are other clusters' fences.
func (p *Provider) CheckNetwork(ctx context.Context, n Network) error {
	if err := checkNetwork(n); err != nil {
		return err
	}
	all, err := p.networks()
	if err != nil {
		return err
	}
	return errors.Join(p.checkFree(n, all), checkPortsFree(ctx, n, all), checkKernel6(n), p.checkName(n.Cluster))
}

// checkName refuses the name of a cluster whose machines run, and that another state directory has the record of: its bridge and its
// machines have the same names.
func (p *Provider) checkName(cluster string) error {
	strays, err := p.Strays()
	if err != nil {
		return err
	}
	for _, id := range strays {
		of, machine, ok := splitMachineID(id)
		if !ok || of != cluster {
			continue
		}
		pids, err := processesIn(cgroupPath(of, machine))
		if err != nil {
			return err
		}
		if len(pids) > 0 {
			return fault.New("cluster-elsewhere", fmt.Sprintf("use the name %q", cluster),
				fmt.Errorf("machine %q of a cluster of that name runs, which %q has no record of", machine, p.cfg.StateDir),
				"choose another name, or set SLIPWAY_STATE to the directory that the cluster was made with")
		}
	}
	return nil
}

func (p *Provider) checkFree(n Network, all []*networkState) error {
	used, err := hostClaims(bridgeName(n.Cluster))
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Network.Cluster != n.Cluster {
			for _, prefix := range s.Network.subnets() {
				used = append(used, claim{prefix, fmt.Sprintf("cluster %q", s.Network.Cluster)})
			}
		}
	}
	var errs []error
	for _, want := range n.prefixes() {
		if c := overlapping(want, used); c != nil {
			errs = append(errs, inUse(n.Cluster, want, *c))
		}
	}
	return errors.Join(errs...)
}

func inUse(cluster string, want netip.Prefix, c claim) error {
	return fault.New("subnet-in-use", fmt.Sprintf("use %s for cluster %q", want, cluster),
		fmt.Errorf("%s (%s) is in use on this computer", c.prefix, c.by),
		"choose another range, or remove what uses this one")
}

// FreeSubnet gives the first subnet of the pool that no route, address or other cluster uses.
func (p *Provider) FreeSubnet(_ context.Context, pool netip.Prefix, bits int, avoid ...netip.Prefix) (netip.Prefix, error) {
	used, err := hostClaims("")
	if err != nil {
		return netip.Prefix{}, err
	}
	all, err := p.networks()
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, s := range all {
		for _, prefix := range s.Network.prefixes() {
			used = append(used, claim{prefix, s.Network.Cluster})
		}
	}
	for _, prefix := range avoid {
		used = append(used, claim{prefix, "the new cluster"})
	}
	for s := netip.PrefixFrom(pool.Masked().Addr(), bits); pool.Contains(s.Addr()); s = nextPrefix(s) {
		if overlapping(s, used) == nil {
			return s, nil
		}
	}
	return netip.Prefix{}, fault.New("no-free-subnet", fmt.Sprintf("find a free /%d in %s", bits, pool),
		errors.New("each one is in use on this computer"), "name a subnet that is free")
}

func overlapping(want netip.Prefix, used []claim) *claim {
	for i := range used {
		if want.Overlaps(used[i].prefix) {
			return &used[i]
		}
	}
	return nil
}

// nextPrefix gives the zero prefix after the last one.
func nextPrefix(p netip.Prefix) netip.Prefix {
	a := p.Addr().As4()
	n := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	next := uint64(n) + 1<<(32-p.Bits())
	if next > 0xffffffff {
		return netip.Prefix{}
	}
	b := [4]byte{byte(next >> 24), byte(next >> 16), byte(next >> 8), byte(next)}
	return netip.PrefixFrom(netip.AddrFrom4(b), p.Bits())
}

// hostClaims lists the addresses and routes in the caller's network namespace, without those on
// the link ownBridge and without fences, which clusters may share.
func hostClaims(ownBridge string) ([]claim, error) {
	links, err := hostnet.List(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	addresses, err := addressClaims(names, ownBridge)
	if err != nil {
		return nil, err
	}
	routes, err := routeClaims(names, ownBridge)
	return append(addresses, routes...), err
}

func addressClaims(names map[int]string, ownBridge string) ([]claim, error) {
	all, err := hostnet.List(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []claim
	for _, a := range all {
		if name := names[a.LinkIndex]; name != ownBridge {
			out = append(out, claim{hostnet.Prefix(a.IPNet).Masked(), "an address of " + name})
		}
	}
	return out, nil
}

func routeClaims(names map[int]string, ownBridge string) ([]claim, error) {
	all, err := hostnet.Routes(netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []claim
	for i := range all {
		r := &all[i]
		if r.Protocol == fenceProtocol || ownBridge != "" && names[r.LinkIndex] == ownBridge {
			continue
		}
		out = append(out, claim{hostnet.Prefix(r.Dst).Masked(), "a route by " + names[r.LinkIndex]})
	}
	return out, nil
}
