package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Delete removes a machine and everything in it, whatever of it there is. It kills instead of
// shutting down, as nothing of it is kept.
func (p *Provider) Delete(ctx context.Context, cluster, name string) error {
	if err := checkNames(cluster, name); err != nil {
		return err
	}
	unlock, err := p.lockMachine(ctx, cluster, name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := p.delete(ctx, cluster, name); err != nil {
		return fmt.Errorf("delete machine %q of cluster %q: %w", name, cluster, err)
	}
	p.dropLock(machineID(cluster, name))
	return nil
}

func (p *Provider) delete(ctx context.Context, cluster, name string) error {
	if err := p.stop(ctx, cluster, name); err != nil {
		return err
	}
	if err := removeTree(p.machineHome(cluster, name)); err != nil {
		return err
	}
	removeEmpty(p.machinesHome(cluster), p.clusterHome(cluster))
	return p.restoreHost(ctx, func() error { return nil })
}

// stop takes away all that exists only while a machine runs. It goes by names alone, so it also
// works for a machine of which nothing is recorded.
func (p *Provider) stop(ctx context.Context, cluster, name string) error {
	if err := p.kill(ctx, cluster, name); err != nil {
		return err
	}
	id := machineID(cluster, name)
	if err := errors.Join(p.forgetContainer(ctx, id), p.forgetRuns(id)); err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error { return unplug(cluster, name) })
	g.Go(func() error { return removeCgroup(cgroupPath(cluster, name)) })
	g.Go(func() error { return unmountBelow(p.machineHome(cluster, name)) })
	return g.Wait()
}

// kill ends PID 1, with which the kernel ends its whole PID namespace, and then whatever else is
// in the machine's cgroups: a crash may have left processes there that runc does not know.
func (p *Provider) kill(ctx context.Context, cluster, name string) error {
	c, err := p.container(ctx, cluster, name)
	if err == nil && c != nil && State(c.Status) == Running { // what is paused must be thawed first, as killCgroup does
		err = killAndWait(ctx, c.Pid)
	}
	return errors.Join(err, killCgroup(cgroupPath(cluster, name)))
}

func killAndWait(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, pollMillis)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d to end: %w", pid, err)
		}
	}
	return fmt.Errorf("wait for process %d to end: %w", pid, context.Cause(ctx))
}

// pollMillis bounds one wait for a process, so that a cancelled context is noticed.
const pollMillis = 100

func (p *Provider) forgetContainer(ctx context.Context, id string) error {
	dir := filepath.Join(p.runc.Root, id)
	if p.hasContainer(id) {
		// What runc would refuse to delete, and what it does not know of, goes with the rest below.
		_ = p.runc.Delete(ctx, id, nil)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the container's state: %w", err)
	}
	return nil
}

// unmountBelow unmounts everything in a machine's directory, innermost first.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		err := unix.Unmount(mounts[i], unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) { // somebody on this computer looks at it
			err = unix.Unmount(mounts[i], unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		if err != nil {
			return fmt.Errorf("unmount %q: %w", mounts[i], err)
		}
	}
	return nil
}

func mountsBelow(dir string) ([]string, error) {
	path, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.Mountpoint != path && !strings.HasPrefix(m.Mountpoint, path+"/"), false
	})
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var out []string
	for _, m := range infos {
		out = append(out, m.Mountpoint)
	}
	return out, nil
}

// removeTree refuses a directory with something mounted in it: what is there is not the machine's.
func removeTree(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("remove %q: %q is still mounted", dir, mounts)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove machine's directory: %w", err)
	}
	return nil
}
