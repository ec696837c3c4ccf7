package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Disk is what of a machine is on this computer's disk and stays when it does not run.
type Disk struct {
	Upper string // what it changed of its root file system: the overlay's upper directory
	Data  string // its plain directory, Machine.Dir
}

// DiskIn is the disk that SaveDisk wrote into a directory.
func DiskIn(dir string) Disk { return Disk{Upper: home(dir).upper(), Data: home(dir).data()} }

// CopyTree copies a directory to a path where nothing is.
type CopyTree func(ctx context.Context, from, to string) error

// SaveDisk copies a machine's disk into a directory, and what makes it this machine and no other. Nothing in the machine may run
// meanwhile: it is stopped or paused.
func (p *Provider) SaveDisk(ctx context.Context, cluster, name, to string, tree CopyTree) error {
	m, unlock, err := p.existing(ctx, cluster, name)
	if err != nil {
		return err
	}
	defer unlock()
	if m.state == Running {
		return fmt.Errorf("copy the disk of machine %q of cluster %q: the machine runs", name, cluster)
	}
	if err := makeDirs(to); err != nil {
		return err
	}
	from := p.machineHome(cluster, name)
	if err := copyDisk(ctx, DiskIn(from), DiskIn(to), tree); err != nil {
		return fmt.Errorf("copy the disk of machine %q of cluster %q: %w", name, cluster, err)
	}
	return copyIdentity(from, to)
}

// PutDisk stops a machine the hard way, whatever of it there is, and gives it the disk that SaveDisk wrote. With identity it is
// that very machine, and can be started; without it has none, which Create gives it.
func (p *Provider) PutDisk(ctx context.Context, cluster, name, from string, identity bool, tree CopyTree) (Disk, error) {
	to := p.machineHome(cluster, name)
	if err := checkNames(cluster, name); err != nil {
		return Disk{}, err
	}
	unlock, err := p.lockMachine(ctx, cluster, name)
	if err != nil {
		return Disk{}, err
	}
	defer unlock()
	if err := p.stop(ctx, cluster, name); err != nil {
		return Disk{}, fmt.Errorf("stop machine %q of cluster %q: %w", name, cluster, err)
	}
	if err := removeTree(to); err != nil {
		return Disk{}, err
	}
	err = makeDirs(to)
	if err == nil {
		err = copyDisk(ctx, DiskIn(from), DiskIn(to), tree)
	}
	if err == nil && identity {
		err = copyIdentity(from, to) // last: with this it is complete
	}
	if err != nil {
		return Disk{}, fmt.Errorf("put back the disk of machine %q of cluster %q: %w", name, cluster, err)
	}
	return DiskIn(to), nil
}

// Known tells whether a machine of this name was recorded. Then its disk is complete.
func (p *Provider) Known(cluster, name string) (bool, error) {
	s, err := p.loadMachine(cluster, name)
	return s != nil, err
}

func copyDisk(ctx context.Context, from, to Disk, tree CopyTree) error {
	if err := tree(ctx, from.Upper, to.Upper); err != nil {
		return err
	}
	return tree(ctx, from.Data, to.Data)
}

// copyIdentity copies the record last, which says that there is a machine.
func copyIdentity(from, to string) error {
	for _, name := range []string{filepath.Base(home("").key()), "machine.json"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), data, 0o600)
		}
		if err != nil {
			return fmt.Errorf("copy what a machine is known by: %w", err)
		}
	}
	return nil
}

// Disk tells where a machine's disk is.
func (p *Provider) Disk(cluster, name string) Disk { return DiskIn(p.machineHome(cluster, name)) }
