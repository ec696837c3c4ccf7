package localcluster

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

func poolPrefix() netip.Prefix { return netip.MustParsePrefix(subnetPool) }

// BundleDir is where the bundle of a version lies unless the user says otherwise.
func BundleDir(cache, kubernetes string) string {
	return filepath.Join(cache, "bundles", kubernetes+"-"+runtime.GOARCH)
}

// bundleDir is where the bundle lies. Of one that a tag names only the registry knows.
func bundleDir(d Dirs, o Options) (string, error) {
	if registry.IsRef(o.Bundle) {
		ref, err := registry.Parse(o.Bundle)
		return registry.Dir(pulled(d), ref.Digest()), err
	}
	if o.Bundle != "" {
		return filepath.Abs(o.Bundle)
	}
	set, err := pins.For(o.Version)
	if err != nil {
		return "", err
	}
	return BundleDir(d.Cache, set.Kubernetes), nil
}

// openBundle opens a bundle that is here.
func openBundle(dir string, o Options) (*images.Bundle, error) {
	b, err := images.Open(dir)
	if err != nil {
		return nil, err
	}
	return b, sameVersion(o, b)
}

// sameVersion refuses a bundle of another version than the one that was asked for.
func sameVersion(o Options, b *images.Bundle) error {
	if o.Version == "" {
		return nil
	}
	set, err := pins.For(o.Version)
	if err != nil || set.Kubernetes == b.KubernetesVersion() {
		return err
	}
	return fault.New("option-invalid", fmt.Sprintf("use --kubernetes-version %s with bundle %q", o.Version, b.Dir()),
		fmt.Errorf("the bundle is of Kubernetes %s", b.KubernetesVersion()), "leave one of the two out")
}

func newRecord(o Options, b *images.Bundle, u *images.Unpacked, self string) Record {
	gateway := o.Subnet.Masked().Addr().Next()
	r := Record{
		Version: recordVersion, Created: time.Now().UTC(), Subnet: o.Subnet, Keys: o.Keys, Bundle: b.Dir(), Asked: askedRef(o),
		Mounts: o.Mounts, Limits: o.limits(), Roles: o.Roles, Layers: []string{self, u.Files, u.Rootfs}, Programs: u.Files, Store: u.Containerd,
		Network: local.Network{
			Cluster: o.Name, Subnet: o.Subnet, Gateway: gateway,
			Fenced: []netip.Prefix{o.PodCIDR, o.ServiceCIDR}, Egress: o.Egress, Loopback: loopbackPorts(o.mirrors),
		},
	}
	if o.Egress {
		r.Resolvers = resolvers()
	}
	address := gateway
	for i := range o.ControlPlanes + o.Workers {
		address = address.Next()
		n := bootstrap.Node{Address: address, Shared: true, ControlPlane: i < o.ControlPlanes, Init: i == 0}
		if n.ControlPlane {
			n.VirtualIPInterface = machineLink
		}
		n.Name = fmt.Sprintf("%s-cp-%d", o.Name, i+1)
		if !n.ControlPlane {
			n.Name = fmt.Sprintf("%s-worker-%d", o.Name, i+1-o.ControlPlanes)
		}
		o.register(&n)
		r.Nodes = append(r.Nodes, n)
	}
	shared := sharedAddress(o.Subnet)
	r.Network.Ports, _ = o.ports() // what is wrong with them was said before
	r.Network.Front, r.Network.Behind = r.Nodes[0].Address, reserved(o.Subnet)
	r.Cluster = bootstrap.Cluster{
		Name: o.Name, KubernetesVersion: b.KubernetesVersion(), PodCIDR: o.PodCIDR, ServiceCIDR: o.ServiceCIDR, IPv6: o.IPv6,
		DNSDomain: o.DNSDomain, NoCNI: o.CNI == cniNone, Settings: o.Settings, Endpoint: fleet.APIAddress(r.Nodes[0].Address),
		Workers: o.Workers, UpstreamDNS: len(r.Resolvers) > 0, Typha: o.Typha, Dedicated: o.Workers > 0,
		Mirrors: fromNodes(o.mirrors, gateway), LoadBalancers: r.Network.Behind,
		Balanced: true, Closed: true, Alone: o.ControlPlanes == 1, ExtraSANs: []string{shared.Addr().String()},
	}
	if o.ControlPlanes > 1 {
		r.Cluster.VirtualIP, r.Cluster.Endpoint, r.Network.Front = shared, fleet.APIAddress(shared.Addr()), shared.Addr()
	}
	r.useIPv6()
	for _, n := range r.Nodes[:o.ControlPlanes] {
		r.Cluster.ControlPlanes = append(r.Cluster.ControlPlanes, bootstrap.Member{Name: n.Name, Address: n.Address})
	}
	return r
}

// machineLink is a machine's link on the cluster's bridge.
const machineLink = "eth0"

// sharedAddress is the last address of the subnet. One of the control planes has it if there are several.
func sharedAddress(subnet netip.Prefix) netip.Prefix {
	first := subnet.Masked().Addr().As4()
	broadcast := binary.BigEndian.Uint32(first[:]) | (1<<(32-subnet.Bits()) - 1)
	binary.BigEndian.PutUint32(first[:], broadcast-1)
	return netip.PrefixFrom(netip.AddrFrom4(first), subnet.Bits())
}

// podGateway is the gateway that Calico gives every pod. Nobody has the address: the kernel answers for it by proxy
// ARP, which it does only for addresses that it has a route to, and without egress there is no default route.
func podGateway() netip.Prefix { return netip.MustParsePrefix("169.254.1.1/32") }

// machineSpec binds what is written much to plain directories: the kernel refuses an overlay whose upper
// layer lies on another overlay, which containerd's would.
func (c *Cluster) machineSpec(n bootstrap.Node) (local.MachineSpec, error) {
	signer, err := readSSHKey(c.SSHKeyFile())
	if err != nil {
		return local.MachineSpec{}, err
	}
	s := local.MachineSpec{
		Cluster: c.Name(), Name: n.Name, Address: n.Address, Address6: n.Address6,
		Layers:        c.Layers,
		Binds:         append(append(dataBinds(), local.Bind{Source: c.Bundle, Target: bundleTarget, ReadOnly: true}), c.binds(n)...),
		OnLink:        append([]netip.Prefix{c.Cluster.ServiceCIDR, podGateway()}, c.onLink6()...),
		AuthorizedKey: string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
		Hosts:         c.hosts(),
		Resolvers:     c.Resolvers,
		Limits:        c.Limits,
	}
	if c.Bare {
		s.Binds, s.OnLink = c.bareBinds(), nil
		if !c.Network.Egress {
			s.OnLink = []netip.Prefix{anywhere()}
		}
	}
	return s, nil
}

// hosts are the names that all machines know: each other's, and this computer's where nodes pull from it.
func (c *Cluster) hosts() map[string]netip.Addr {
	out := map[string]netip.Addr{}
	for _, n := range c.allNodes() {
		out[n.Name] = n.Address
	}
	for _, m := range c.Cluster.Mirrors {
		if host := mirrorURL(m).Hostname(); nameOfThisComputer(host) {
			out[host] = c.Network.Gateway
		}
	}
	return out
}

// dataBinds are what the container runtime, the kubelet and etcd write to.
func dataBinds() []local.Bind {
	return []local.Bind{
		{Source: "containerd", Target: "/var/lib/containerd"},
		{Source: "kubelet", Target: "/var/lib/kubelet"},
		{Source: "etcd", Target: "/var/lib/etcd"},
	}
}

// ownLayer gives a directory with this very program in it, to lie on top of the machines' file systems: once a
// build, as it is named by its content.
func ownLayer(d Dirs) (string, error) {
	dir, err := ownLayerPath(d)
	if err != nil {
		return "", err
	}
	target := filepath.Join(dir, bootstrap.Program)
	if _, err := os.Stat(target); err == nil {
		return dir, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return dir, copyProgram(self, target)
}

func ownLayerPath(d Dirs) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	sum, err := digest(self)
	return filepath.Join(store(d), "slipway-"+sum), err
}

func newSSHKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make ssh key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "slipway")
	if err != nil {
		return nil, fmt.Errorf("make ssh key: %w", err)
	}
	return pem.EncodeToMemory(block), nil
}

func readSSHKey(path string) (ssh.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ssh key: %w", err)
	}
	return ssh.ParsePrivateKey(data)
}

// leastSpace is what a one-node cluster writes, with a reserve: etcd, logs, pods.
const leastSpace = 1 << 30

func checkSpace(dir string) error {
	free, err := freeSpace(existing(dir))
	if err == nil && free < leastSpace {
		return noSpace(fmt.Sprintf("keep a cluster below %q", dir), free, leastSpace)
	}
	return err
}

// checkRoom wants room for something, and some more for what runs.
func checkRoom(dir string, need int64, op string) error {
	const reserve = 128 << 20
	free, err := freeSpace(existing(dir))
	if err == nil && free < uint64(need)+reserve { //nolint:gosec // a size is positive
		return noSpace(op, free, uint64(need)+reserve) //nolint:gosec // a size is positive
	}
	return err
}

func noSpace(op string, free, need uint64) error {
	return fault.New("disk-full", op, errors.New(fmt.Sprint(free>>20, " MiB are free there, at least ", need>>20, " are needed")),
		"make room, or set SLIPWAY_STATE to a directory on another disk")
}
