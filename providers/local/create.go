package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sync/errgroup"
)

// Create makes a machine and returns when its systemd has started everything. A machine that
// runs already, or is paused, is left as it is; one that was half made, or that this computer's restart
// stopped, is made whole and keeps its files.
func (p *Provider) Create(ctx context.Context, spec MachineSpec) (*Machine, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	unlock, err := p.lockMachine(ctx, spec.Cluster, spec.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	m, err := p.create(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("make machine %q of cluster %q: %w", spec.Name, spec.Cluster, err)
	}
	return m, nil
}

func (p *Provider) create(ctx context.Context, spec MachineSpec) (*Machine, error) {
	network, err := p.loadNetwork(spec.Cluster)
	if err != nil {
		return nil, err
	}
	if network == nil || !network.Network.Subnet.Contains(spec.Address) || network.Network.Gateway == spec.Address {
		return nil, fmt.Errorf("its cluster has no network that %q is free in", spec.Address)
	}
	if err := checkAddress6(network.Network, spec.Address6); err != nil {
		return nil, err
	}
	s, err := p.loadMachine(spec.Cluster, spec.Name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		s = &machineState{Version: stateVersion, Spec: spec, MachineID: newMachineID()}
	} else {
		s.Spec.Hosts = spec.Hosts // others come and go; what is new counts when it is started
		if err := sameMachine(s.Spec, spec); err != nil {
			return nil, err
		}
	}
	if s.Ready {
		if m, err := p.machine(ctx, s); err != nil || m.state != Stopped {
			return m, err
		}
	}
	return p.start(ctx, s, network.Network)
}

// Start boots a machine that exists and does not run, after a restart of this computer for example, as it was made, but for hosts: the
// further lines of its /etc/hosts, as others have come and gone.
func (p *Provider) Start(ctx context.Context, cluster, name string, hosts map[string]netip.Addr) (*Machine, error) {
	unlock, err := p.lockMachine(ctx, cluster, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	network, err := p.loadNetwork(cluster)
	if err != nil {
		return nil, err
	}
	s, err := p.loadMachine(cluster, name)
	if err != nil {
		return nil, err
	}
	if network == nil || s == nil {
		return nil, fmt.Errorf("start machine %q of cluster %q: there is none", name, cluster)
	}
	spec := s.Spec
	spec.Hosts = hosts
	m, err := p.create(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start machine %q of cluster %q: %w", name, cluster, err)
	}
	return m, nil
}

// start makes everything that a machine consists of while it runs. What a former try has left
// of that goes first, as it cannot be told what state it is in.
func (p *Provider) start(ctx context.Context, s *machineState, n Network) (*Machine, error) {
	if err := p.stop(ctx, s.Spec.Cluster, s.Spec.Name); err != nil {
		return nil, err
	}
	s.Ready = false
	if err := writeState(p.machineFile(s.Spec.Cluster, s.Spec.Name), s); err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.makeRoot(s) })
	g.Go(func() error { return plugIn(s.Spec, n) })
	g.Go(func() error { return p.changeHost(gctx, machineSettings()) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := p.boot(ctx, s); err != nil {
		return nil, err
	}
	s.Ready = true
	if err := writeState(p.machineFile(s.Spec.Cluster, s.Spec.Name), s); err != nil {
		return nil, err
	}
	m, err := p.machine(ctx, s)
	if err == nil && !m.Running() {
		err = errors.New("it stopped right after its start")
	}
	return m, err
}

func newMachineID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// makeDirs makes the directories of a machine; only root gets into any of them.
func makeDirs(dirs ...string) error {
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	return nil
}
