package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockRetry is how often a lock that somebody else holds is asked for again. flock has no
// variant that a context can end.
const lockRetry = 10 * time.Millisecond

// lockCluster keeps everybody else away from a cluster: its network is about to change.
func (p *Provider) lockCluster(ctx context.Context, cluster string) (func(), error) {
	return p.lock(ctx, "cluster-"+cluster, unix.LOCK_EX)
}

// lockMachine keeps everybody else away from one machine, and its cluster's network as it is,
// while other machines of the cluster can be worked on at the same time.
func (p *Provider) lockMachine(ctx context.Context, cluster, name string) (func(), error) {
	uncluster, err := p.lock(ctx, "cluster-"+cluster, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	unmachine, err := p.lock(ctx, machineID(cluster, name), unix.LOCK_EX)
	if err != nil {
		uncluster()
		return nil, err
	}
	return func() { unmachine(); uncluster() }, nil
}

// lockHost guards what all clusters share: settings of this computer and its address space.
func (p *Provider) lockHost(ctx context.Context) (func(), error) {
	return p.lock(ctx, "host", unix.LOCK_EX)
}

func (p *Provider) lock(ctx context.Context, name string, how int) (func(), error) {
	path := filepath.Join(p.lockDir(), name)
	for {
		f, err := tryLock(path, how)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %q: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for lock %q, which another slipway holds: %w", path, context.Cause(ctx))
		case <-time.After(lockRetry):
		}
	}
}

func tryLock(path string, how int) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) { // whoever was last removed the directory just now
		return nil, unix.EWOULDBLOCK
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	if !stillThere(f, path) { // whoever had it removed the file after we opened it
		_ = f.Close()
		return nil, unix.EWOULDBLOCK
	}
	return f, nil
}

func stillThere(f *os.File, path string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && os.SameFile(held, now)
}

// dropLock removes the file of a lock. Call it only while that lock is held alone.
func (p *Provider) dropLock(name string) {
	_ = os.Remove(filepath.Join(p.lockDir(), name))
}

func (p *Provider) lockDir() string { return filepath.Join(p.cfg.RunDir, "locks") }
