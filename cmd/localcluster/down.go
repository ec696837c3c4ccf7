package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Down removes every trace of a cluster, also of one that was only half made. A name that this computer
// has nothing of is the fault cluster-unknown.
func Down(ctx context.Context, d Dirs, name, kubeconfig string) error {
	if err := errors.Join(CheckName(name), local.CheckRoot()); err != nil {
		return err
	}
	if _, err := os.Stat(home(d, name)); err != nil {
		if unlock, err := lock(d, name); err == nil {
			unlock() // which also removes the lock of a launch that was killed before it had made anything else
		}
		_, err := Open(d, name)
		return err
	}
	unlock, err := lock(d, name)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := Open(d, name)
	if err != nil { // a damaged record does not keep anything from being removed
		c = &Cluster{dirs: d}
		c.Cluster.Name = name
	} else {
		c.Removing = true
		if err := c.save(); err != nil && !isFull(err) { // a full disk least of all
			return err
		}
	}
	if !slices.Contains(c.Kubeconfigs, kubeconfig) {
		c.Kubeconfigs = append(c.Kubeconfigs, kubeconfig)
	}
	return c.remove(ctx)
}

// remove keeps what it needs to be run again until all else is gone.
func (c *Cluster) remove(ctx context.Context) error {
	p := c.provider()
	names, err := p.Names(c.Name())
	if err != nil {
		return err
	}
	failed := make([]error, len(names))
	var wg sync.WaitGroup
	for i, m := range names {
		wg.Go(func() { failed[i] = fault.On(m, p.Delete(ctx, c.Name(), m)) })
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if err := p.DeleteNetwork(ctx, c.Name()); err != nil {
		return err
	}
	for _, path := range c.Kubeconfigs {
		if err := certs.RemoveKubeconfig(path, c.Context()); err != nil {
			return err
		}
	}
	if err := removeHome(c.dirs, c.Name()); err != nil {
		return err
	}
	return sweepSnapshots(c.dirs, c.Name()) // those that are complete stay
}

func removeHome(d Dirs, name string) error {
	if err := os.RemoveAll(home(d, name)); err != nil {
		return fmt.Errorf("remove what was kept of cluster %q: %w", name, err)
	}
	// The parents go when nothing else is in them; that they hold other clusters is no error.
	for _, dir := range []string{filepath.Join(d.State, "clusters"), d.State} {
		_ = os.Remove(dir)
	}
	return nil
}

// Machines gives the cluster's machines as they are now.
func (c *Cluster) Machines(ctx context.Context) ([]*local.Machine, error) {
	return c.provider().List(ctx, c.Name())
}

// Machine gives one running machine. The faults are node-unknown, node-not-running and cluster-paused.
func (c *Cluster) Machine(ctx context.Context, name string) (*local.Machine, error) {
	all, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range all {
		names = append(names, m.Name())
		if m.Name() != name {
			continue
		}
		switch m.State() {
		case local.Stopped:
			return nil, fault.New("node-not-running", fmt.Sprintf("reach node %q", name), errors.New("its machine does not run"),
				"start it with `slipway start "+c.Name()+"`")
		case local.Paused:
			return nil, c.paused()
		case local.Running:
		}
		return m, nil
	}
	return nil, c.nodeUnknown(name, names)
}

func (c *Cluster) nodeUnknown(name string, names []string) error {
	return fault.New("node-unknown", fmt.Sprintf("find node %q", name),
		fmt.Errorf("cluster %q has %q", c.Name(), names), "use one of these names")
}
