package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/fault"
)

// Network is what the machines of one cluster are on: a bridge in the caller's network
// namespace.
type Network struct {
	Cluster string         `json:"cluster"`
	Subnet  netip.Prefix   `json:"subnet"`  // of the machines
	Gateway netip.Addr     `json:"gateway"` // this computer's address on the bridge
	Fenced  []netip.Prefix `json:"fenced"`  // used inside the cluster only: blackholed on this computer; of either family
	Egress  bool           `json:"egress"`  // machines may reach beyond the bridge
	// Loopback are TCP ports of this computer's 127.0.0.1 that machines reach at the gateway's address.
	Loopback []uint16 `json:"loopback,omitempty"`
	// Subnet6 is the IPv6 network that machines have besides. It ends on the bridge: this computer is not in it.
	Subnet6 netip.Prefix `json:"subnet6,omitzero"`

	// Front is the address of a machine, or one that moves between machines, to which published ports and the addresses
	// behind it lead. It is all of a network that may change.
	Front  netip.Addr   `json:"front,omitzero"`
	Ports  []Port       `json:"ports,omitempty"`
	Behind netip.Prefix `json:"behind,omitzero"` // a part of the subnet that no machine has
}

// EnsureNetwork makes the network of a cluster, or completes one that was half made or that lost something: machines that run
// are on it again then. The fences come first: from then on nothing meant for the cluster leaves this computer.
func (p *Provider) EnsureNetwork(ctx context.Context, n Network) error {
	if err := checkNetwork(n); err != nil {
		return err
	}
	unlock, err := p.lockCluster(ctx, n.Cluster)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := p.recordNetwork(ctx, n)
	if err != nil {
		return err
	}
	if err := p.makeNetwork(ctx, s); err != nil {
		return fmt.Errorf("make network of cluster %q: %w", n.Cluster, err)
	}
	return nil
}

func (p *Provider) makeNetwork(ctx context.Context, s *networkState) error {
	if err := addFences(s); err != nil {
		return err
	}
	if err := addFirewall(s.Network); err != nil {
		return err
	}
	if err := addBridge(s.Network); err != nil {
		return err
	}
	if err := p.replug(s.Network); err != nil {
		return err
	}
	forgetFlows(s.Network, unix.IPPROTO_UDP)
	if !s.Network.Egress {
		return nil
	}
	return p.changeHost(ctx, forwarding())
}

func checkNetwork(n Network) error {
	if err := checkName("cluster", n.Cluster); err != nil {
		return err
	}
	if !n.Subnet.IsValid() || !n.Subnet.Addr().Is4() || n.Subnet != n.Subnet.Masked() {
		return fmt.Errorf("make network of cluster %q: %q is not an IPv4 subnet", n.Cluster, n.Subnet)
	}
	if !n.Subnet.Contains(n.Gateway) {
		return fmt.Errorf("make network of cluster %q: gateway %q is not in subnet %q", n.Cluster, n.Gateway, n.Subnet)
	}
	if err := errors.Join(checkFront(n), checkPorts(n)); err != nil {
		return err
	}
	if err := checkSubnet6(n); err != nil {
		return err
	}
	for _, f := range n.Fenced {
		if !f.IsValid() || f != f.Masked() {
			return fmt.Errorf("make network of cluster %q: fenced %q is not a prefix", n.Cluster, f)
		}
		if mine := n.overlapping(f); mine.IsValid() {
			return fault.New("subnet-overlap", fmt.Sprintf("use %s for the machines of cluster %q", mine, n.Cluster),
				fmt.Errorf("%s is used inside the cluster, and the two overlap", f), "choose ranges that do not overlap")
		}
	}
	return nil
}

// recordNetwork writes down what is going to be made. Under the host's lock nobody else can
// take the same addresses or the same metric in between.
func (p *Provider) recordNetwork(ctx context.Context, n Network) (*networkState, error) {
	unlock, err := p.lockHost(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	have, err := p.loadNetwork(n.Cluster)
	if err != nil {
		return nil, err
	}
	others, err := p.networks()
	if err != nil {
		return nil, err
	}
	if have == nil {
		err = p.checkFree(n, others)
	}
	if !hasBridge(n.Cluster) { // as after a restart of this computer; later nobody else can get the ports
		err = errors.Join(err, checkPortsFree(ctx, n, others))
	}
	if err != nil {
		return nil, err
	}
	if have != nil {
		return p.moveFront(have, n)
	}
	s := &networkState{Version: stateVersion, Network: n, Metric: freeMetric(others)}
	return s, writeState(p.networkFile(n.Cluster), s)
}

// moveFront records where the front is now. Everything else of a network stays as it is.
func (p *Provider) moveFront(have *networkState, want Network) (*networkState, error) {
	moved := have.Network.Front != want.Front
	have.Network.Front = want.Front
	if err := sameNetwork(have.Network, want); err != nil || !moved {
		return have, err
	}
	return have, writeState(p.networkFile(want.Cluster), have)
}

func sameNetwork(have, want Network) error {
	if len(have.Fenced) == 0 && len(want.Fenced) == 0 {
		have.Fenced, want.Fenced = nil, nil
	}
	if len(have.Ports) == 0 && len(want.Ports) == 0 {
		have.Ports, want.Ports = nil, nil
	}
	if reflect.DeepEqual(have, want) {
		return nil
	}
	return fault.New("network-differs", fmt.Sprintf("make network of cluster %q", want.Cluster),
		fmt.Errorf("it has a network already, with subnet %s and other settings than asked for", have.Subnet),
		"delete the cluster first, or ask for the settings that it has")
}

// DeleteNetwork removes the network of a cluster, which must have no machines any more. It
// needs no record of it, and it is no error when nothing is there. The fences go last.
func (p *Provider) DeleteNetwork(ctx context.Context, cluster string) error {
	if err := checkName("cluster", cluster); err != nil {
		return err
	}
	unlock, err := p.lockCluster(ctx, cluster)
	if err != nil {
		return err
	}
	defer unlock()
	names, err := p.machineNames(cluster)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("delete network of cluster %q: it still has machines: %q", cluster, names)
	}
	if err := p.unmakeNetwork(cluster); err != nil {
		return fmt.Errorf("delete network of cluster %q: %w", cluster, err)
	}
	p.dropLock(machineID(cluster, "*")) // of machines that somebody was killed at the very beginning of
	p.dropLock("cluster-" + cluster)
	return p.restoreHost(ctx, func() error { return p.removeShared(cluster) })
}

func (p *Provider) unmakeNetwork(cluster string) error {
	s, err := p.loadNetwork(cluster)
	if err != nil {
		return err
	}
	if err := errors.Join(removeBridge(cluster), removeFirewall(cluster)); err != nil {
		return err
	}
	if s != nil {
		forgetFlows(s.Network, unix.IPPROTO_TCP, unix.IPPROTO_UDP)
		if err := removeFences(s.Metric); err != nil {
			return err
		}
	}
	if err := os.Remove(p.networkFile(cluster)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	removeEmpty(p.machinesHome(cluster), p.clusterHome(cluster))
	return nil
}

// removeShared removes what belongs to the cluster's machines together, and after the last
// cluster what belongs to all. Only what is empty goes: a provider with another state directory
// may have machines there too.
func (p *Provider) removeShared(cluster string) error {
	if err := removeEmptyCgroup(filepath.Join("/", cgroupRoot, cluster)); err != nil {
		return err
	}
	removeEmpty(netnsDir)
	return removeEmptyCgroup("/" + cgroupRoot)
}

// removeEmpty removes directories that hold nothing; what the caller keeps in one stays.
func removeEmpty(dirs ...string) {
	for _, d := range dirs {
		_ = os.Remove(d)
	}
}
