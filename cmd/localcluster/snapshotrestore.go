package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
	"slipway.dev/slipway/internal/treecopy"
	"slipway.dev/slipway/providers/local"
)

// RestoreSnapshot makes a cluster what it was when the snapshot was saved, or completes that if it was interrupted. It also brings back
// a cluster that was removed.
func RestoreSnapshot(ctx context.Context, d Dirs, o SnapshotOptions, report engine.Report) (*Cluster, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s, err := openSnapshot(d, o.Name, o.Snapshot, flock.Shared)
	if err != nil {
		return nil, err
	}
	defer s.close()
	unlock, err := lock(d, o.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c, err := s.toRestore(ctx, d, o.Name)
	if err == nil {
		err = sweepSnapshots(d, o.Name)
	}
	if err != nil {
		return nil, err
	}
	if err := c.mayUse(s); err != nil {
		return nil, err
	}
	if err := c.isWhole(ctx, s, report); err != nil {
		return nil, err
	}
	ctx, cancel := PowerOptions{Name: o.Name, Wait: o.Wait}.inTime(ctx, "restore")
	defer cancel()
	err = c.restore(ctx, s, report)
	if err == nil {
		err = c.merge(o.Kubeconfig)
	}
	if err == nil {
		err = c.settle(ctx, true, report)
	}
	return c, inTime(ctx, err)
}

// toRestore gives the cluster that there is now, or the one that there was if it is gone.
func (s *Snapshot) toRestore(ctx context.Context, d Dirs, name string) (*Cluster, error) {
	c, err := Open(d, name)
	var f *fault.Error
	switch {
	case errors.As(err, &f) && f.ID == "cluster-unknown":
		c, p := &Cluster{dirs: d, Record: s.Record}, local.New(local.Config{StateDir: d.State, RunDir: d.Run})
		if _, err := chooseSubnet(ctx, d, p, c.Subnet, c.Subnet.Bits()); err != nil {
			return nil, err
		}
		return c, p.CheckNetwork(ctx, c.Network)
	case err != nil:
		return nil, err
	case c.Removing:
		return nil, c.removing("restore")
	case !c.Created.Equal(s.Record.Created):
		return nil, fault.New("snapshot-of-another", fmt.Sprintf("restore snapshot %q", s.ref()),
			fmt.Errorf("it is of an earlier cluster %q, which began at %v", name, s.Record.Created),
			"remove the one that there is now with `slipway down "+name+"`, or make a new one with `slipway up --from "+s.ref()+" --name OTHER`")
	}
	return c, nil
}

// mayUse checks, before anything is changed, that what the snapshot's machines are made of is there, and the space.
func (c *Cluster) mayUse(s *Snapshot) error {
	from := &Cluster{dirs: c.dirs, Record: s.Record}
	return errors.Join(from.checkLayers(), checkRoom(c.dirs.State, s.Size().Copied, fmt.Sprintf("use snapshot %q", s.ref())))
}

// isWhole reads all that the snapshot has of its machines.
func (c *Cluster) isWhole(ctx context.Context, s *Snapshot, report engine.Report) error {
	from := &Cluster{dirs: c.dirs, Record: s.Record}
	_, err := from.onEach(ctx, "verify", namesOf(s.Record.Nodes), func(ctx context.Context, _, name string) (bool, error) {
		return false, s.verify(ctx, name)
	}, report)
	return err
}

// restore puts everything back and starts the machines. From the first change on the record says so.
func (c *Cluster) restore(ctx context.Context, s *Snapshot, report engine.Report) error {
	if err := c.beginRestoring(ctx, s); err != nil {
		return err
	}
	if err := copyProgram(s.file("runc"), c.file("runc")); err != nil { // by which machines are stopped, too
		return err
	}
	for name, to := range map[string]string{"kubeconfig": c.KubeconfigFile(), "ssh_key": c.SSHKeyFile()} {
		data, err := os.ReadFile(s.file(name))
		if err == nil {
			err = writeFile(to, data)
		}
		if err != nil {
			return fmt.Errorf("put back %q of cluster %q: %w", name, c.Name(), err)
		}
	}
	if err := c.putDisks(ctx, s, report); err != nil {
		return err
	}
	for _, path := range c.Kubeconfigs {
		if err := certs.MoveKubeconfig(path, c.Context(), c.server()); err != nil {
			return err
		}
	}
	c.Restoring = ""
	return c.save()
}

// beginRestoring records it. The subnet of a cluster that was gone may have been taken while the snapshot was verified.
func (c *Cluster) beginRestoring(ctx context.Context, s *Snapshot) error {
	unlock, err := lockSubnets(ctx, c.dirs)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.toRestore(ctx, c.dirs, c.Name()); err != nil {
		return err
	}
	kubeconfigs := c.Kubeconfigs
	c.Record = s.Record
	c.Kubeconfigs, c.Restoring, c.Starting = kubeconfigs, s.Name, true
	return c.save()
}

// putDisks removes the machines that the snapshot does not have, and starts those that it has, with the disks of then.
func (c *Cluster) putDisks(ctx context.Context, s *Snapshot, report engine.Report) error {
	p, names := c.provider(), namesOf(c.Nodes)
	there, err := p.Names(c.Name())
	if err != nil {
		return err
	}
	more := slices.DeleteFunc(there, func(name string) bool { return slices.Contains(names, name) })
	_, err = c.onEach(ctx, "remove-machine", more, func(ctx context.Context, cluster, name string) (bool, error) {
		return true, p.Delete(ctx, cluster, name)
	}, report)
	if err != nil {
		return err
	}
	_, err = c.onEach(ctx, "put-disk", names, func(ctx context.Context, cluster, name string) (bool, error) {
		disk, err := p.PutDisk(ctx, cluster, name, s.machine(name), true, copyInto(&treecopy.Size{}, c.Store))
		if err == nil {
			err = forgetVolumes(disk)
		}
		return true, diskFull(err)
	}, report)
	if err != nil {
		return err
	}
	if err := p.EnsureNetwork(ctx, c.Network); err != nil {
		return err
	}
	_, err = c.onEach(ctx, "machine", names, func(ctx context.Context, cluster, name string) (bool, error) {
		_, err := p.Start(ctx, cluster, name, c.hosts())
		return true, err
	}, report)
	return err
}

func (c *Cluster) restoring(what string) error {
	return fault.New("cluster-restoring", fmt.Sprintf("%s cluster %q", what, c.Name()), errors.New("its restoration has begun"),
		fmt.Sprintf("finish that with `slipway snapshot restore %s %s`", c.Name(), c.Restoring))
}
