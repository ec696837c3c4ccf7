package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/treecopy"
	"slipway.dev/slipway/providers/local"
)

// SaveSnapshot copies the disks of all machines as they are at one instant. Those that run are frozen meanwhile.
func SaveSnapshot(ctx context.Context, d Dirs, o SnapshotOptions, report engine.Report) (*Snapshot, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c, unlock, err := claim(d, o.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := c.mayBeSaved(ctx, o.Snapshot, report); err != nil {
		return nil, err
	}
	defer func() { _ = sweepSnapshots(d, o.Name) }() // of what did not get its name; where nobody comes to this, the next command does it
	s := &Snapshot{
		Version: snapshotVersion, Cluster: o.Name, Name: o.Snapshot, Machines: map[string]*Copy{}, dir: unfinished(d, o.Name, "new"),
	}
	if err := c.saveTo(ctx, s, report); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.dir = snapshotAt(d, o.Name, o.Snapshot)
	if err := os.Rename(unfinished(d, o.Name, "new"), s.dir); err != nil {
		return nil, fmt.Errorf("keep snapshot %q: %w", s.ref(), err)
	}
	return s, nil
}

func (c *Cluster) mayBeSaved(ctx context.Context, name string, report engine.Report) error {
	op := fmt.Sprintf("save a snapshot of cluster %q", c.Name())
	switch {
	case c.Bare:
		return fault.New("machines-bare", op, errors.New("there are only machines of that name"), "save what is on them yourself")
	case !c.Ready:
		return c.incomplete()
	case len(c.Joining) > 0:
		return fault.New("nodes-joining", op, fmt.Errorf("an addition of %q was interrupted", namesOf(c.Joining)),
			"complete it with the same command as then, or remove them with `slipway node remove "+c.Name()+" "+c.Joining[0].Name+"`")
	case len(c.Going) > 0:
		return fault.New("nodes-leaving", op, fmt.Errorf("a removal of %q was interrupted", c.Going),
			"finish that with `slipway node remove "+c.Name()+" "+c.Going[0]+"`")
	}
	if _, err := os.Stat(filepath.Join(snapshotAt(c.dirs, c.Name(), name), "snapshot.json")); err == nil {
		return fault.New("snapshot-exists", op, fmt.Errorf("there is a snapshot %q of it", name),
			fmt.Sprintf("choose another name, or delete that with `slipway snapshot delete %s %s`", c.Name(), name))
	}
	if _, err := c.in(ctx); err != nil { // all machines are there
		return err
	}
	if len(c.Frozen) > 0 { // by a former try, which was killed
		return c.thaw(ctx, report)
	}
	return nil
}

// saveTo fills the directory of a snapshot.
func (c *Cluster) saveTo(ctx context.Context, s *Snapshot, report engine.Report) error {
	if err := c.remember(ctx); err != nil {
		return err
	}
	if err := c.roomFor(ctx, s, report); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of a snapshot: %w", err)
	}
	s.Record, s.Created = c.Record, time.Now().UTC()
	s.Record.Kubeconfigs = nil // that the context is in somebody's file is not the cluster's own
	for _, n := range c.Nodes {
		s.Machines[n.Name] = &Copy{}
	}
	names, p := namesOf(c.Nodes), c.provider()
	took, err := c.whileFrozen(ctx, report, func() error {
		_, err := c.onEach(ctx, "copy-disk", names, func(ctx context.Context, cluster, name string) (bool, error) {
			err := p.SaveDisk(ctx, cluster, name, s.machine(name), copyInto(&s.Machines[name].Size, c.Store))
			return true, diskFull(err)
		}, report)
		return err
	})
	if err != nil {
		return err
	}
	s.Frozen = took.Seconds()
	_, err = c.onEach(ctx, "digest", names, func(ctx context.Context, _, name string) (_ bool, err error) {
		s.Machines[name].Digest, err = treecopy.Digest(ctx, s.machine(name), isRead)
		return true, err
	}, report)
	if err != nil {
		return err
	}
	return c.complete(s)
}

// diskFull gives that its fault, also where it was found out late.
func diskFull(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.New("disk-full", "copy a machine's disk", err, "make room, and run the same command again")
	}
	return err
}

// roomFor compares what there is to copy with the free space, and has the kernel read what it will need while the machines are frozen.
func (c *Cluster) roomFor(ctx context.Context, s *Snapshot, report engine.Report) error {
	var mu sync.Mutex
	var all treecopy.Size
	p := c.provider()
	_, err := c.onEach(ctx, "measure", namesOf(c.Nodes), func(_ context.Context, cluster, name string) (bool, error) {
		disk := p.Disk(cluster, name)
		data, err1 := treecopy.Measure(disk.Data, finalIn(c.Store))
		upper, err2 := treecopy.Measure(disk.Upper, nil)
		mu.Lock()
		defer mu.Unlock()
		all.Add(data)
		all.Add(upper)
		return false, errors.Join(err1, err2)
	}, report)
	if err != nil {
		return err
	}
	return checkRoom(c.dirs.State, all.Copied, fmt.Sprintf("keep snapshot %q", s.ref()))
}

// complete writes what belongs to no machine, the manifest last, and waits until all is on the disk.
func (c *Cluster) complete(s *Snapshot) error {
	for _, name := range []string{"kubeconfig", "ssh_key", "runc"} {
		if err := os.Link(c.file(name), s.file(name)); err != nil { // they are replaced, and never written to
			return fmt.Errorf("keep %q of cluster %q: %w", name, c.Name(), err)
		}
	}
	if err := writeJSON(s.manifest(), s); err != nil {
		return err
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// whileFrozen does something while nothing in the cluster runs, and tells for how long nothing did. Machines that were not running
// stay as they are. What is frozen is recorded, should nobody come to thaw it.
func (c *Cluster) whileFrozen(ctx context.Context, report engine.Report, do func() error) (time.Duration, error) {
	running, err := c.in(ctx, local.Running)
	if err != nil || len(running) == 0 {
		return 0, errors.Join(err, do())
	}
	c.Frozen = running
	if err := c.save(); err != nil {
		return 0, err
	}
	begin := time.Now()
	_, err = c.onEach(ctx, "freeze", running, c.provider().Pause, report)
	if err == nil {
		err = do()
	}
	err = errors.Join(err, c.thaw(context.WithoutCancel(ctx), report))
	return time.Since(begin), err
}

func (c *Cluster) thaw(ctx context.Context, report engine.Report) error {
	c.Frozen = slices.DeleteFunc(c.Frozen, func(name string) bool { return !slices.ContainsFunc(c.Nodes, named(name)) }) // removed since
	if _, err := c.onEach(ctx, "thaw", c.Frozen, c.provider().Resume, report); err != nil {
		return err
	}
	c.Frozen = nil
	return c.save()
}
