package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// Where the kubelet puts pods, in every hierarchy: with the cgroupfs driver and with systemd's.
func podGroups() []string { return []string{"kubepods", "kubepods.slice"} }

// endCgroups kills every process in the control groups of these paths and below, in all hierarchies, waits until the
// kernel has let go of them, and removes the groups.
func endCgroups(ctx context.Context, paths ...string) error {
	var dirs []string
	for _, p := range paths {
		for _, pattern := range []string{filepath.Join(cgroupRoot, p), filepath.Join(cgroupRoot, "*", p)} {
			found, err := filepath.Glob(pattern)
			if err != nil {
				return fmt.Errorf("look for control groups: %w", err)
			}
			dirs = append(dirs, found...)
		}
	}
	for _, dir := range dirs {
		if err := endCgroup(ctx, dir); err != nil {
			return fmt.Errorf("end control group %q: %w", dir, err)
		}
	}
	return nil
}

// pollCgroup is how often a group is looked at while its processes end: there is nothing to wait on in version 1.
const pollCgroup = 20 * time.Millisecond

func endCgroup(ctx context.Context, dir string) error {
	tick := time.NewTicker(pollCgroup)
	defer tick.Stop()
	for {
		groups, pids, err := processesOf(dir)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			if err := removeGroups(groups); !errors.Is(err, unix.EBUSY) {
				return err
			}
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("processes %v are still there", pids), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// processesOf gives the groups at and below dir, outermost first, and the processes in them.
func processesOf(dir string) (groups []string, pids []int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went while we looked
			return nil
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		}
		groups = append(groups, path)
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 { // 0 is a process outside of our namespace
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return groups, pids, err
}

func removeGroups(groups []string) error {
	for _, g := range slices.Backward(groups) {
		if err := os.Remove(g); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
