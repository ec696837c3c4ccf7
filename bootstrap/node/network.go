package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/engine"
)

// notedTables is the note about the tables and chains of nftables that were there before any pod.
const notedTables = "nftables"

// podNetwork makes room for Calico and kube-proxy, which will change the kernel's network when they run as pods: it notes
// what was there, and takes back what they leave. A network configuration of the administrator's own is set aside, or
// the container runtime would use that until Calico's is there, and pods would be in the wrong network.
func (n *builder) podNetwork(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) {
			if _, ok := n.host.Noted(notedTables); ok {
				return nil, nil
			}
			change := []string{"note the tables of nftables"}
			for _, path := range n.otherNetworks() {
				change = append(change, "set aside "+path)
			}
			return change, nil
		},
		Do: func(context.Context, func(string)) error {
			tables, err := firewallNames()
			if err != nil {
				return err
			}
			if err := n.host.Hide(name, n.otherNetworks()...); err != nil {
				return err
			}
			if err := n.noteBPF(name); err != nil {
				return err
			}
			return n.host.Note(name, notedTables, strings.Join(tables, "\n"))
		},
		Undo: func(context.Context) error {
			noted, ok := n.host.Noted(notedTables)
			if !ok {
				return nil // it was never begun
			}
			return errors.Join(removeLinks(), removeRoutes(), removeTables(strings.Split(noted, "\n")), removeSets(),
				removeNamespaces(), n.unmountBPF())
		},
	}
}

// bpfMount is where upstream's Calico mounts a file system that most hosts have there already. Ours does not.
const bpfMount = "/sys/fs/bpf"

func (n *builder) noteBPF(step string) error {
	mounted, err := mountinfo.Mounted(bpfMount)
	if err != nil {
		return fmt.Errorf("look at %q: %w", bpfMount, err)
	}
	return n.host.Note(step, bpfMount, strconv.FormatBool(mounted))
}

func (n *builder) unmountBPF() error {
	if was, _ := n.host.Noted(bpfMount); was != "false" {
		return nil
	}
	if err := unix.Unmount(bpfMount, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %q: %w", bpfMount, err)
	}
	return nil
}

// otherNetworks are the network configurations that the container runtime would see before Calico's. Later ones, which an
// administrator adds to a node that runs, are his business.
func (n *builder) otherNetworks() (out []string) {
	if n.Cluster.NoCNI {
		return nil
	}
	for _, pattern := range []string{"*.conf", "*.conflist", "*.json"} {
		found, _ := filepath.Glob(filepath.Join(cniConfigs, pattern)) // the patterns are well-formed
		out = append(out, found...)
	}
	return slices.DeleteFunc(out, func(path string) bool { return path == calicoConfig })
}

// removeLinks removes Calico's tunnels and the pods' ends on this host.
func removeLinks() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		pods := l.Type() == "veth" && strings.HasPrefix(name, "cali")
		if name != "vxlan.calico" && name != "vxlan-v6.calico" && !pods {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.As(err, &netlink.LinkNotFoundError{}) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("remove link %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// calicoRoutes is the routing protocol that Felix marks its routes with:
// https://docs.tigera.io/calico/latest/reference/felix/configuration (DeviceRouteProtocol)
const calicoRoutes = 80

func removeRoutes() error {
	filter := &netlink.Route{Protocol: calicoRoutes, Table: unix.RT_TABLE_UNSPEC}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var errs []error
	for _, r := range routes {
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route %v: %w", r, err))
		}
	}
	return errors.Join(errs...)
}

func tableName(t *nftables.Table) string { return fmt.Sprintf("%d %s", t.Family, t.Name) }

func chainName(ch *nftables.Chain) string { return tableName(ch.Table) + " " + ch.Name }

func firewallNames() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("reach nftables: %w", err)
	}
	tables, err := c.ListTables()
	if err != nil {
		return nil, fmt.Errorf("list tables of nftables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list chains of nftables: %w", err)
	}
	var out []string
	for _, t := range tables {
		out = append(out, tableName(t))
	}
	for _, ch := range chains {
		out = append(out, chainName(ch))
	}
	return out, nil
}

// removeTables removes kube-proxy's tables, the chains of Calico and the kubelet in those of iptables, and of the latter
// those that were not there before, once nothing is left in them.
func removeTables(before []string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("reach nftables: %w", err)
	}
	tables, err := c.ListTables()
	if err != nil {
		return fmt.Errorf("list tables of nftables: %w", err)
	}
	var errs []error
	for _, t := range tables {
		if t.Name == "kube-proxy" {
			c.DelTable(t)
		} else if slices.Contains(iptablesTables(), t.Name) {
			errs = append(errs, cleanTable(c, t, before))
		}
	}
	if err := c.Flush(); err != nil {
		errs = append(errs, fmt.Errorf("change nftables: %w", err))
	}
	return errors.Join(errs...)
}

func iptablesTables() []string { return []string{"filter", "nat", "mangle", "raw"} }

// cleanTable takes our chains, and the rules that lead to them, out of a table. The table itself, and iptables' own chains
// in it, go if they were not there before and nobody else has put a rule into them.
func cleanTable(c *nftables.Conn, t *nftables.Table, before []string) error {
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return fmt.Errorf("list chains of nftables: %w", err)
	}
	chains = slices.DeleteFunc(chains, func(ch *nftables.Chain) bool { return ch.Table.Name != t.Name })
	kept := slices.Contains(before, tableName(t))
	var gone []*nftables.Chain
	for _, ch := range chains {
		if isOurs(ch.Name) {
			c.FlushChain(ch)
			gone = append(gone, ch)
			continue
		}
		others, err := removeJumps(c, t, ch)
		if err != nil {
			return err
		}
		if others > 0 || ch.Hooknum == nil || slices.Contains(before, chainName(ch)) {
			kept = true // somebody's own
		} else {
			gone = append(gone, ch)
		}
	}
	for _, ch := range gone {
		c.DelChain(ch)
	}
	if !kept {
		c.DelTable(t)
	}
	return nil
}

// isOurs tells whether Calico, kube-proxy or the kubelet made a chain.
func isOurs(chain string) bool {
	return strings.HasPrefix(chain, "cali-") || strings.HasPrefix(chain, "KUBE-")
}

// removeJumps removes the rules that lead to our chains, and counts the others.
func removeJumps(c *nftables.Conn, t *nftables.Table, ch *nftables.Chain) (others int, err error) {
	rules, err := c.GetRules(t, ch)
	if err != nil {
		return 0, fmt.Errorf("list rules of chain %q: %w", ch.Name, err)
	}
	for _, r := range rules {
		if !leadsToOurs(r) {
			others++
			continue
		}
		if err := c.DelRule(r); err != nil {
			return 0, fmt.Errorf("remove a rule of chain %q: %w", ch.Name, err)
		}
	}
	return others, nil
}

// leadsToOurs is also true for the few rules that Felix puts into a chain of iptables itself: its comments begin with
// "cali:". Depending on the version of iptables a comment is a match or data of the rule.
func leadsToOurs(r *nftables.Rule) bool {
	const felix = "cali:"
	return bytes.Contains(r.UserData, []byte(felix)) || slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
		switch e := e.(type) {
		case *expr.Verdict:
			return isOurs(e.Chain)
		case *expr.Match:
			comment, ok := e.Info.(*xt.Comment)
			return ok && strings.HasPrefix(string(*comment), felix)
		}
		return false
	})
}

// removeSets removes the sets of addresses that Felix made for iptables.
func removeSets() error {
	names, err := setNames()
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil // this kernel has no such sets
	}
	if err != nil {
		return fmt.Errorf("list ipsets: %w", err)
	}
	var errs []error
	for _, name := range names {
		if !strings.HasPrefix(name, "cali40") && !strings.HasPrefix(name, "cali60") {
			continue
		}
		if err := netlink.IpsetDestroy(name); err != nil {
			errs = append(errs, fmt.Errorf("remove ipset %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// setNames asks for names only. netlink's own function reads what is in the sets too, and complains on the standard log
// about kinds that it does not know.
func setNames() ([]string, error) {
	const listNames = 1 << 1 // IPSET_FLAG_LIST_SETNAME, include/uapi/linux/netfilter/ipset/ip_set.h
	req := nl.NewNetlinkRequest(nl.IPSET_CMD_LIST|unix.NFNL_SUBSYS_IPSET<<8, nl.GetIpsetFlags(nl.IPSET_CMD_LIST)|unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
	req.AddData(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_FLAGS | nl.NLA_F_NET_BYTEORDER, Value: listNames})
	answers, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range answers {
		attributes, err := nl.ParseRouteAttr(a[nl.SizeofNfgenmsg:])
		if err != nil {
			return nil, err
		}
		for _, attr := range attributes {
			if attr.Attr.Type == nl.IPSET_ATTR_SETNAME {
				out = append(out, nl.BytesToString(attr.Value))
			}
		}
	}
	return out, nil
}

// removeNamespaces removes the network namespaces of pods. The container runtime gives them these names.
func removeNamespaces() error {
	found, err := filepath.Glob("/run/netns/cni-*")
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	var errs []error
	for _, path := range found {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %q: %w", path, err))
		}
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}
