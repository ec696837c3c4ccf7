package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"slipway.dev/slipway/internal/flock"
)

// lockCluster keeps everybody else away from a cluster: its network is about to change.
func (p *Provider) lockCluster(ctx context.Context, cluster string) (func(), error) {
	return p.lock(ctx, "cluster-"+cluster, flock.Exclusive)
}

// lockMachine keeps everybody else away from one machine, and its cluster's network as it is,
// while other machines of the cluster can be worked on at the same time.
func (p *Provider) lockMachine(ctx context.Context, cluster, name string) (func(), error) {
	uncluster, err := p.lock(ctx, "cluster-"+cluster, flock.Shared)
	if err != nil {
		return nil, err
	}
	unmachine, err := p.lock(ctx, machineID(cluster, name), flock.Exclusive)
	if err != nil {
		uncluster()
		return nil, err
	}
	return func() { unmachine(); uncluster() }, nil
}

// lockHost guards what all clusters share: settings of this computer and its address space.
func (p *Provider) lockHost(ctx context.Context) (func(), error) {
	return p.lock(ctx, "host", flock.Exclusive)
}

func (p *Provider) lock(ctx context.Context, name string, mode flock.Mode) (func(), error) {
	held, err := flock.Wait(ctx, filepath.Join(p.lockDir(), name), mode)
	if err != nil {
		return nil, fmt.Errorf("wait for another slipway: %w", err)
	}
	return held.Unlock, nil
}

// dropLock removes the files of the locks that the pattern matches. Call it only while nobody else can hold one of them.
func (p *Provider) dropLock(pattern string) {
	files, _ := filepath.Glob(filepath.Join(p.lockDir(), pattern))
	for _, file := range files {
		_ = os.Remove(file)
	}
}

func (p *Provider) lockDir() string { return filepath.Join(p.cfg.RunDir, "locks") }
