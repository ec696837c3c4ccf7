package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// cgroupRoot is the group of all machines of this computer, in every hierarchy.
const cgroupRoot = "slipway"

// hierarchy is one mounted cgroup tree: the only one of v2, or one of several of v1.
type hierarchy struct {
	path    string
	unified bool
	options []string // of the mount
}

func hierarchies() ([]hierarchy, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2" || m.Root != "/", false
	})
	if err != nil {
		return nil, fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	var out []hierarchy
	for _, m := range mounts {
		if strings.HasPrefix(m.Mountpoint, "/sys/fs/cgroup") {
			out = append(out, hierarchy{m.Mountpoint, m.FSType == "cgroup2", strings.Split(m.VFSOptions, ",")})
		}
	}
	return out, nil
}

// openUnified makes and opens the group of a machine in the v2 tree of a hybrid layout. With v2
// alone, or v1 alone, it gives nil: there runc does all.
func openUnified(path string) (*os.File, error) {
	all, err := hierarchies()
	if err != nil || len(all) < 2 {
		return nil, err
	}
	for _, h := range all {
		if !h.unified {
			continue
		}
		dir := filepath.Join(h.path, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make cgroup: %w", err)
		}
		return os.Open(dir)
	}
	return nil, nil
}

// killCgroup kills every process in the subtree, wherever it hides, until none is left.
func killCgroup(path string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := walkUp(filepath.Join(h.path, path), thaw); err != nil {
			return fmt.Errorf("thaw %q: %w", filepath.Join(h.path, path), err)
		}
	}
	for _, h := range all {
		dir := filepath.Join(h.path, path)
		for deadline := time.Now().Add(goneLimit); ; time.Sleep(goneRetry) {
			n, err := killIn(dir)
			if err != nil {
				return fmt.Errorf("kill the processes in %q: %w", dir, err)
			}
			if n == 0 {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("kill the processes in %q: %d do not go away", dir, n)
			}
		}
	}
	return nil
}

// Killed processes and emptied groups go within milliseconds, but not at once.
const (
	goneLimit = 10 * time.Second
	goneRetry = 5 * time.Millisecond
)

func killIn(dir string) (int, error) {
	pids, err := processesBelow(dir)
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return len(pids), err
}

// processesIn gives the processes of a subtree. Every hierarchy has all of them, but for one of v2 beside v1.
func processesIn(path string) ([]int, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for _, h := range all {
		if !h.unified || len(all) == 1 {
			return processesBelow(filepath.Join(h.path, path))
		}
	}
	return nil, nil
}

func processesBelow(dir string) (pids []int, err error) {
	err = walkUp(dir, func(group string) error {
		data, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil {
			return err
		}
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

// thaw lets the processes of a frozen v1 group die, in whatever hierarchy they are found; in v2 they can be killed as they are.
func thaw(group string) error {
	state := filepath.Join(group, "freezer.state")
	now, err := os.ReadFile(state)
	if err != nil || strings.TrimSpace(string(now)) == "THAWED" {
		return nil //nolint:nilerr // not of the freezer's hierarchy, or gone
	}
	return os.WriteFile(state, []byte("THAWED"), 0)
}

// removeCgroup removes the subtree from every hierarchy, with what was made inside it.
func removeCgroup(path string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range all {
		dir := filepath.Join(h.path, path)
		if err := walkUp(dir, removeGroup); err != nil {
			errs = append(errs, fmt.Errorf("remove cgroup %q: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

func removeGroup(dir string) error {
	for deadline := time.Now().Add(goneLimit); ; time.Sleep(goneRetry) {
		err := unix.Rmdir(dir)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

// walkUp visits the groups of a subtree, children first. Groups may vanish meanwhile.
func walkUp(dir string, visit func(string) error) error {
	entries, err := os.ReadDir(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := walkUp(filepath.Join(dir, e.Name()), visit); err != nil {
				return err
			}
		}
	}
	if err := visit(dir); !gone(err) {
		return err
	}
	return nil
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// removeEmptyCgroup removes a group that has no children from every hierarchy.
func removeEmptyCgroup(path string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		removeEmpty(filepath.Join(h.path, path))
	}
	return nil
}

// anyMachines tells whether this computer has machines at all, of this provider or of one with
// another state directory.
func anyMachines() (bool, error) {
	all, err := hierarchies()
	if err != nil {
		return false, err
	}
	for _, h := range all {
		found, err := filepath.Glob(filepath.Join(h.path, cgroupRoot, "*", "*", "cgroup.procs"))
		if err != nil || len(found) > 0 {
			return len(found) > 0, err
		}
	}
	return false, nil
}
