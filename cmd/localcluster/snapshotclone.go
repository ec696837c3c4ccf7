package localcluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/treecopy"
	"slipway.dev/slipway/providers/local"
)

// beginFrom is begin for a cluster that is made of a snapshot: with the nodes, the data and the settings of that, and a name, addresses
// and authorities of its own.
func (c *Cluster) beginFrom(ctx context.Context, o Options) error {
	d := c.dirs
	s, err := findSnapshot(d, o.From)
	if err != nil {
		return err
	}
	defer s.close()
	p := local.New(local.Config{StateDir: d.State, RunDir: d.Run})
	if err := errors.Join(p.Check(ctx), certs.CheckKubeconfig(o.Kubeconfig)); err != nil {
		return err
	}
	if err := c.mayUse(s); err != nil {
		return err
	}
	self, err := ownLayer(d)
	if err != nil {
		return err
	}
	unlock, err := lockSubnets(ctx, d)
	if err != nil {
		return err
	}
	defer unlock()
	k := s.Record.Cluster
	if o.Subnet, err = chooseSubnet(ctx, d, p, o.Subnet, s.Record.Subnet.Bits(), k.PodCIDR, k.ServiceCIDR); err != nil {
		return err
	}
	record, err := s.cloned(o, self)
	if err != nil {
		return err
	}
	c.Record = record
	if err := p.CheckNetwork(ctx, c.Network); err != nil {
		return err
	}
	return c.beginWith(s)
}

// beginWith writes the first files.
func (c *Cluster) beginWith(s *Snapshot) error {
	cas, err := certs.NewAuthorities(c.Keys, time.Now())
	if err != nil {
		return fmt.Errorf("make certificate authorities: %w", err)
	}
	plan, err := fleet.NewPlan(c.Cluster, c.Nodes, cas, bundleTarget, time.Now())
	if err != nil {
		return err
	}
	if err := errors.Join(s.keepEncryption(plan), c.knowCopied(plan, cas)); err != nil {
		return err
	}
	key, err := newSSHKey()
	if err != nil {
		return err
	}
	err = errors.Join(writeJSON(c.file("plan.json"), plan), writeFile(c.KubeconfigFile(), plan.Kubeconfig),
		writeFile(c.SSHKeyFile(), key), copyProgram(s.file("runc"), c.file("runc")))
	if err != nil {
		return err
	}
	return c.save() // last: a cluster without a record never began
}

// keepEncryption has the plan encrypt Secrets with the key that those in the snapshot are encrypted with.
func (s *Snapshot) keepEncryption(plan *fleet.Plan) error {
	for _, spec := range plan.Specs {
		i := slices.IndexFunc(spec.Files, func(f engine.File) bool { return f.Path == bootstrap.EncryptionConfig })
		if i < 0 {
			continue
		}
		data, err := readInside(s.disk(spec.Node.Name).Upper, bootstrap.EncryptionConfig)
		if err != nil {
			return s.damaged(fmt.Errorf("read the key that its Secrets are encrypted with: %w", err))
		}
		spec.Files[i].Data = data
	}
	return nil
}

// knowCopied has the nodes begin with what is on their disks. That has the configuration of Calico's plugin, which does not come
// anew before pods that are there already want a network, and a kubelet that has none for them tries again after twice the time
// each time. So the plugin has a kubeconfig until calico-node writes the next one.
func (c *Cluster) knowCopied(plan *fleet.Plan, cas *certs.Authorities) error {
	for _, spec := range plan.Specs {
		spec.Copied = c.Nodes
		if c.Cluster.NoCNI {
			continue
		}
		data, err := cas.ServiceAccountKubeconfig(
			fleet.PKI(c.Cluster), fleet.NodeAPI(c.Cluster), metav1.NamespaceSystem, "calico-cni-plugin", time.Now())
		if err != nil {
			return err
		}
		spec.Files = append(spec.Files, engine.File{Path: node.CalicoKubeconfig, Data: data, Mode: 0o600})
	}
	return nil
}

func (s *Snapshot) disk(machine string) local.Disk { return local.DiskIn(s.machine(machine)) }

// readInside follows no symbolic link out of the directory.
func readInside(dir, path string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.ReadFile(strings.TrimPrefix(path, "/"))
}

// cloned is the record of a cluster that is made of the snapshot. Its nodes keep their names, by which all else in the cluster knows
// them, and their place in the subnet.
func (s *Snapshot) cloned(o Options, self string) (Record, error) {
	r := s.Record
	if o.Subnet.Bits() != r.Subnet.Bits() {
		return r, fault.New("option-invalid", fmt.Sprintf("use --subnet %v", o.Subnet),
			fmt.Errorf("the snapshot's is as large as a /%d", r.Subnet.Bits()), "choose one of that size")
	}
	var errs []error
	for _, bad := range bootstrap.CheckRanges(o.Subnet, r.Cluster.PodCIDR, r.Cluster.ServiceCIDR, len(r.Nodes)) {
		errs = append(errs, fault.New("option-invalid", fmt.Sprintf("use %s %v", bad.Flag, bad.Value), bad.Err, "choose another --subnet"))
	}
	ports, wrong := o.portsOf(r.Cluster.Settings)
	for _, text := range slices.Sorted(maps.Keys(wrong)) {
		errs = append(errs, fault.New("option-invalid", fmt.Sprintf("use --publish %q", text), wrong[text], "see `slipway up --help`"))
	}
	if len(errs) > 0 {
		return r, errors.Join(errs...)
	}
	moved := func(a netip.Addr) netip.Addr { return move(a, r.Subnet, o.Subnet) }
	r.Created, r.Ready, r.Starting, r.Frozen, r.Kubeconfigs, r.From = time.Now().UTC(), false, false, nil, nil, s.ref()
	r.Leaving = nil // their machines are not in the snapshot
	r.Nodes, r.Layers = slices.Clone(r.Nodes), slices.Clone(r.Layers)
	r.Layers[0] = self // the program that knows what to do with the copy
	k := &r.Cluster
	k.Name, k.ControlPlanes, k.Workers = o.Name, nil, 0
	for i := range r.Nodes {
		n := &r.Nodes[i]
		n.Address, n.Joins, n.Init = moved(n.Address), false, n.ControlPlane && len(k.ControlPlanes) == 0
		if n.ControlPlane {
			k.ControlPlanes = append(k.ControlPlanes, bootstrap.Member{Name: n.Name, Address: n.Address})
		} else {
			k.Workers++
		}
	}
	gateway, first := moved(r.Network.Gateway), k.ControlPlanes[0].Address
	shared := sharedAddress(o.Subnet)
	n := local.Network{
		Cluster: o.Name, Subnet: o.Subnet, Gateway: gateway, Fenced: r.Network.Fenced, Egress: o.Egress,
		Loopback: r.Network.Loopback, Front: first, Behind: reserved(o.Subnet),
	}
	n.Ports = ports // the snapshot's are taken
	k.ExtraSANs, k.Endpoint, k.LoadBalancers = []string{shared.Addr().String()}, fleet.APIAddress(first), n.Behind
	if k.VirtualIP.IsValid() {
		k.VirtualIP, k.Endpoint, n.Front = shared, fleet.APIAddress(shared.Addr()), shared.Addr()
	}
	k.Mirrors = movedMirrors(k.Mirrors, r.Network.Gateway, gateway)
	r.Network, r.Resolvers = n, nil
	if o.Egress {
		r.Resolvers = resolvers()
	}
	k.UpstreamDNS = len(r.Resolvers) > 0
	r.Subnet = o.Subnet
	r.useIPv6()
	return r, nil
}

// movedMirrors are those on this computer where the machines reach it now.
func movedMirrors(mirrors []bootstrap.Mirror, from, to netip.Addr) []bootstrap.Mirror {
	out := slices.Clone(mirrors)
	for i := range out {
		if u := mirrorURL(out[i]); u.Hostname() == from.String() {
			u.Host = net.JoinHostPort(to.String(), u.Port())
			out[i].URL = u.String()
		}
	}
	return out
}

// move gives the address that has the same place in another subnet.
func move(a netip.Addr, from, to netip.Prefix) netip.Addr {
	number := func(a netip.Addr) uint32 {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	var out [4]byte
	binary.BigEndian.PutUint32(out[:], number(a)-number(from.Masked().Addr())+number(to.Masked().Addr()))
	return netip.AddrFrom4(out)
}

// copyMachine gives a machine that is to be made the disk of the snapshot's, without what made that a node of its cluster. The
// snapshot's is verified meanwhile: a machine is only made when this has ended well.
func (c *Cluster) copyMachine(ctx context.Context, n bootstrap.Node) error {
	p := c.provider()
	if known, err := p.Known(c.Name(), n.Name); err != nil || known {
		return err
	}
	whole := make(chan error, 1)
	go func() { whole <- c.source.verify(ctx, n.Name) }()
	disk, err := p.PutDisk(ctx, c.Name(), n.Name, c.source.machine(n.Name), false, copyInto(&treecopy.Size{}, c.Store))
	if damaged := <-whole; damaged != nil { // that is why it could not be copied, if it could not
		return damaged
	}
	if err != nil {
		return diskFull(err)
	}
	if err := errors.Join(forgetOrigin(disk), forgetVolumes(disk)); err != nil || !n.ControlPlane {
		return err
	}
	return etcd.Move(filepath.Join(disk.Data, "etcd"), c.movedURL)
}

// derived are the volumes of pods, below the kubelet's directory, that it fills from the API each time that it starts a pod.
func derived() []string {
	return []string{
		"pods/*/volumes/kubernetes.io~projected", "pods/*/volumes/kubernetes.io~secret", "pods/*/volumes/kubernetes.io~configmap",
		"pods/*/volumes/kubernetes.io~downward-api", "pods/*/plugins/kubernetes.io~empty-dir/wrapped_*",
	}
}

// forgetVolumes removes the volumes whose content comes from the API. Their pods are made to run again, which fills them; but a
// kubelet that finds volumes of pods that ran before asks the API about its node, and, where nobody answers yet, asks for ten seconds
// at a time, in which it mounts nothing, not for etcd and the API server either.
func forgetVolumes(disk local.Disk) error {
	root, err := os.OpenRoot(filepath.Join(disk.Data, "kubelet"))
	if err != nil {
		return err
	}
	defer root.Close()
	for _, pattern := range derived() {
		paths, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := root.RemoveAll(path); err != nil {
				return fmt.Errorf("remove %q of a machine: %w", path, err)
			}
		}
	}
	return nil
}

func forgetOrigin(disk local.Disk) error {
	inRoot, inKubelet := node.Origin()
	for dir, paths := range map[string][]string{disk.Upper: inRoot, filepath.Join(disk.Data, "kubelet"): inKubelet} {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		for _, path := range paths {
			if err := root.RemoveAll(strings.TrimPrefix(path, "/")); err != nil {
				return fmt.Errorf("remove %q of the copied machine: %w", path, err)
			}
		}
	}
	return nil
}

// movedURL is where a member of etcd is in this cluster.
func (c *Cluster) movedURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	address, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return "", err
	}
	u.Host = net.JoinHostPort(move(address, c.source.Record.Subnet, c.Subnet).String(), u.Port())
	return u.String(), nil
}
