package local

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/hostnet"
)

// NetworkDamage tells what is missing of the network of a cluster, of what EnsureNetwork made and of the cables of machines
// that run. It changes nothing. A cluster that has no network has no damage.
func (p *Provider) NetworkDamage(cluster string) ([]string, error) {
	s, err := p.loadNetwork(cluster)
	if err != nil || s == nil {
		return nil, err
	}
	machines, err := p.plugged(cluster)
	if err != nil {
		return nil, err
	}
	var out []string
	note := func(found []string, failed error) {
		out, err = append(out, found...), errors.Join(err, failed)
	}
	note(missingRoutes(s))
	note(missingFirewall(s.Network))
	bridge, found, failed := bridgeDamage(s.Network)
	note(found, failed)
	for _, m := range machines {
		note(cableDamage(m, bridge))
	}
	if s.Network.Egress {
		note(missingForwarding())
	}
	if err != nil {
		return nil, fmt.Errorf("look at the network of cluster %q: %w", cluster, err)
	}
	return out, nil
}

// plugged are the machines that have a network namespace: those that run, or that a start was killed at.
func (p *Provider) plugged(cluster string) ([]MachineSpec, error) {
	names, err := p.machineNames(cluster)
	if err != nil {
		return nil, err
	}
	var out []MachineSpec
	for _, name := range names {
		s, err := p.loadMachine(cluster, name)
		if err != nil {
			return nil, err
		}
		var st unix.Statfs_t
		if s != nil && unix.Statfs(netnsPath(machineID(cluster, name)), &st) == nil && st.Type == unix.NSFS_MAGIC {
			out = append(out, s.Spec)
		}
	}
	return out, nil
}

// linkNamed gives nil where there is none.
func linkNamed(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find link %q: %w", name, err)
	}
	return link, nil
}

func isUp(link netlink.Link) bool { return link.Attrs().RawFlags&unix.IFF_UP != 0 }

// bridgeDamage gives the index of the bridge too, 0 where there is none.
func bridgeDamage(n Network) (index int, out []string, err error) {
	name := bridgeName(n.Cluster)
	link, err := linkNamed(name)
	if err != nil {
		return 0, nil, err
	}
	if link == nil {
		return 0, []string{fmt.Sprintf("the bridge %q is gone", name)}, nil
	}
	if !isUp(link) {
		out = append(out, fmt.Sprintf("the bridge %q is down", name))
	}
	has, err := hasAddress(link, n.Gateway)
	if err == nil && !has {
		out = append(out, fmt.Sprintf("the bridge %q does not have the address %s", name, n.Gateway))
	}
	return link.Attrs().Index, out, err
}

func hasAddress(link netlink.Link, want netip.Addr) (bool, error) {
	all, err := hostnet.List(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_V4) })
	for _, a := range all {
		if hostnet.Prefix(a.IPNet).Addr() == want {
			return true, nil
		}
	}
	return false, err
}

// missingRoutes looks for the fences, and for the way to what is behind the front.
func missingRoutes(s *networkState) (out []string, err error) {
	routes, err := listFences()
	if err != nil {
		return nil, err
	}
	fences, ways := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
	for i := range routes {
		to := hostnet.Prefix(routes[i].Dst)
		if routes[i].Type == unix.RTN_BLACKHOLE {
			fences[to] = fences[to] || routes[i].Priority == s.Metric
		} else {
			ways[to] = routes[i].Gw.Equal(s.Network.Front.AsSlice())
		}
	}
	for _, prefix := range s.fenced() {
		if !fences[prefix] {
			out = append(out, fmt.Sprintf("the fence of %s, a route into nowhere, is gone", prefix))
		}
	}
	if behind := s.Network.Behind; behind.IsValid() && !ways[behind] {
		out = append(out, fmt.Sprintf("the route to %s, the addresses of Services, is gone", behind))
	}
	return out, nil
}

// missingFirewall looks for the rules of the table, not at what they say: nobody changes a single one by mistake.
func missingFirewall(n Network) ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nf_tables: %w", err)
	}
	want := []string{"forward", "input"}
	if n.Egress {
		want = []string{"postrouting"}
	}
	if n.opensLoopback() {
		want = append(want, "guard")
	}
	if len(n.Ports) > 0 {
		want = append(want, "publish")
	}
	if len(n.Loopback) > 0 {
		want = append(want, "loopback")
	}
	t := firewallTable(n.Cluster)
	for _, chain := range want {
		rules, err := c.GetRules(t, &nftables.Chain{Name: chain, Table: t})
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(rules) == 0 {
			return []string{fmt.Sprintf("the nft table %q is gone, or rules of it", t.Name)}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read nft table %q: %w", t.Name, err)
		}
	}
	return nil, nil
}

func missingForwarding() ([]string, error) {
	now, err := readSysctl(forwardingKey)
	if err != nil || now == "1" {
		return nil, err
	}
	return []string{"this computer does not forward packets: " + forwardingKey + " is " + now}, nil
}

func cableDamage(s MachineSpec, bridge int) ([]string, error) {
	name := vethName(s.Cluster, s.Name)
	link, err := linkNamed(name)
	switch {
	case err != nil:
		return nil, err
	case link == nil:
		return []string{fmt.Sprintf("the link %q of machine %q is gone", name, s.Name)}, nil
	case bridge == 0 || link.Attrs().MasterIndex != bridge:
		return []string{fmt.Sprintf("the link %q of machine %q is not on the bridge", name, s.Name)}, nil
	case !isUp(link):
		return []string{fmt.Sprintf("the link %q of machine %q is down", name, s.Name)}, nil
	}
	return nil, nil
}

// replug puts the cables of machines back on the bridge. What is on it already stays as it is.
func (p *Provider) replug(n Network) error {
	machines, err := p.plugged(n.Cluster)
	if err != nil || len(machines) == 0 {
		return err
	}
	bridge, err := netlink.LinkByName(bridgeName(n.Cluster))
	if err != nil {
		return fmt.Errorf("find the bridge of cluster %q: %w", n.Cluster, err)
	}
	for _, m := range machines {
		if err := plugAgain(m, n, bridge); err != nil {
			return fmt.Errorf("plug in machine %q: %w", m.Name, err)
		}
	}
	return nil
}

func plugAgain(s MachineSpec, n Network, bridge netlink.Link) error {
	link, err := linkNamed(vethName(s.Cluster, s.Name))
	if err != nil {
		return err
	}
	if link == nil { // and with it the machine's eth0
		id := machineID(s.Cluster, s.Name)
		if err := addVeth(s, id); err != nil {
			return err
		}
		return inNetns(enterNamed(id), func() error { return configureEth0(s, n) })
	}
	if link.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := netlink.LinkSetMaster(link, bridge); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// Strays are machines that this computer has parts of and the state directory no record, by the names of their network
// namespaces. They may be those of another state directory.
func (p *Provider) Strays() ([]string, error) {
	found, err := filepath.Glob(netnsPath(machineID("*", "*")))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, path := range found {
		cluster, name, ok := splitMachineID(filepath.Base(path))
		if !ok {
			continue
		}
		if _, err := os.Stat(p.machineHome(cluster, name)); errors.Is(err, fs.ErrNotExist) {
			out = append(out, filepath.Base(path))
		}
	}
	return out, nil
}

// ReadOnlyRoot tells whether the machine's root file system is mounted so that nothing can be written to it. It gives false
// for one that does not run.
func (m *Machine) ReadOnlyRoot() (bool, error) {
	if m.pid == 0 {
		return false, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join("/proc", strconv.Itoa(m.pid), "root"), &st); err != nil {
		return false, fmt.Errorf("look at the root file system of machine %q: %w", m.Name(), err)
	}
	return st.Flags&unix.ST_RDONLY != 0, nil
}

// SeesAnother tells whether a bind's source was replaced since the machine was started: what the machine sees at target is
// the old one, which may be empty by now.
func (m *Machine) SeesAnother(source, target string) (bool, error) {
	if m.pid == 0 {
		return false, nil
	}
	now, err := os.Stat(source)
	if err != nil {
		return false, err
	}
	seen, err := os.Stat(filepath.Join("/proc", strconv.Itoa(m.pid), "root", target))
	if err != nil {
		return false, err
	}
	return !os.SameFile(now, seen), nil
}
