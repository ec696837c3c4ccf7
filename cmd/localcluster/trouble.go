package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// tightSpace is so little that something in a machine has failed to write by now, or soon will.
const tightSpace = 16 << 20

// explain adds to a failure what may be behind it that nobody could say where it happened: who waits for an API server does
// not know that etcd could not write.
func (c *Cluster) explain(err error) error {
	if err == nil {
		return nil
	}
	for _, f := range fault.All(err) {
		if f.ID == "disk-full" && f.Host == "" {
			return err
		}
	}
	dir := existing(home(c.dirs, c.Name()))
	free, failed := freeSpace(dir)
	if failed != nil || free >= tightSpace && !isFull(err) { // what did not fit may have been removed again
		return err
	}
	full := fault.New("disk-full", fmt.Sprintf("keep cluster %q on %s", c.Name(), diskOf(dir)),
		fmt.Errorf("%d MiB are free there now", free>>20), "free some space and run the same command again")
	if len(fault.All(err)) == 0 {
		full.Err = fmt.Errorf("%w: %w", full.Err, err)
		return full
	}
	return errors.Join(full, err)
}

// diskOf names the file system that a directory is on, as far as that can be found out.
func diskOf(dir string) string {
	var st unix.Stat_t
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(dir))
	if err != nil || unix.Stat(dir, &st) != nil {
		return fmt.Sprintf("the disk of %q", dir)
	}
	out := ""
	for _, m := range mounts {
		if uint64(m.Major) == uint64(unix.Major(st.Dev)) && uint64(m.Minor) == uint64(unix.Minor(st.Dev)) {
			out = fmt.Sprintf("%s (%s), mounted on %s", m.Source, m.FSType, m.Mountpoint)
		}
	}
	if out == "" {
		return fmt.Sprintf("the disk of %q", dir)
	}
	return out
}

// isFull tells whether something failed only because there was no room to write.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// checkRoots finds machines whose root file system cannot be written to: pods on them may go on for long, and nothing else works.
func (c *Cluster) checkRoots(ctx context.Context) error {
	machines, err := c.Machines(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range machines {
		errs = append(errs, c.checkRoot(m))
	}
	return errors.Join(errs...)
}

func (c *Cluster) checkRoot(m *local.Machine) error {
	readOnly, err := m.ReadOnlyRoot()
	if err != nil || !readOnly {
		return err
	}
	return fault.On(m.Name(), fault.New("disk-read-only", "use the node", errors.New("its root file system is mounted read-only"),
		fmt.Sprintf("look why in the kernel's log, and boot the machine again with `slipway restart %s %s`", c.Name(), m.Name())))
}

// mendNetwork repairs what somebody has taken away of the network, and tells whether that was so. Machines go on meanwhile.
func (c *Cluster) mendNetwork(ctx context.Context, report engine.Report) (bool, error) {
	p := c.provider()
	damage, err := p.NetworkDamage(c.Name())
	if err != nil || len(damage) == 0 {
		return false, err
	}
	return true, engine.Run(ctx, "", []engine.Step{
		oneStep("mend-network", func(ctx context.Context, progress func(string)) error {
			progress(strings.Join(damage, "; "))
			return p.EnsureNetwork(ctx, c.Network)
		}),
	}, report)
}

// existing gives the nearest directory above that exists.
func existing(dir string) string {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			return dir
		}
	}
}

// freeSpace is what may still be written to the disk of a directory: nothing where there can be no more files.
func freeSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("look at the disk of %q: %w", dir, err)
	}
	if st.Files > 0 && st.Ffree == 0 {
		return 0, nil
	}
	return st.Bavail * uint64(st.Bsize), nil //nolint:gosec // a block size is positive
}
