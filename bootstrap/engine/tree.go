package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Claim records directories that other programs are going to fill: the kubelet, the container runtime, the network. What
// is in one when everything is taken back, and was not when it was claimed, goes, and what is mounted there first.
// Nothing is made.
func (h *Host) Claim(step string, dirs ...string) error {
	known := map[string]bool{}
	var entries []Entry
	for _, dir := range dirs {
		entries = append(entries, missingDirs(step, filepath.Dir(dir), known)...)
		e, err := treeEntry(step, dir)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	return h.journal.Record(entries...)
}

// Unclaimed lists those of the directories that have not been claimed.
func (h *Host) Unclaimed(dirs ...string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool {
		_, ok := h.journal.find(KindTree, dir)
		return ok
	})
}

func treeEntry(step, dir string) (Entry, error) {
	e := Entry{Step: step, Kind: KindTree, Name: dir}
	st, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		e.Absent = true
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("look at %q: %w", dir, err)
	}
	e.setOwner(st)
	children, err := os.ReadDir(dir)
	if err != nil {
		return e, fmt.Errorf("look at %q: %w", dir, err)
	}
	for _, c := range children {
		e.Children = append(e.Children, c.Name())
	}
	e.Mounts, err = mountsBelow(dir)
	return e, err
}

func (e *Entry) setOwner(st fs.FileInfo) {
	e.Mode, e.ModTime = st.Mode(), st.ModTime()
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		e.UID, e.GID = int(sys.Uid), int(sys.Gid)
	}
}

// restoreTree removes and unmounts what has come since. The directory itself stays if it was there, also as a mount point.
func (e Entry) restoreTree() error {
	if err := unmountBelow(e.Name, e.Mounts); err != nil {
		return err
	}
	children, err := os.ReadDir(e.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range children {
		if !slices.Contains(e.Children, c.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(e.Name, c.Name())))
		}
	}
	if e.Absent {
		errs = append(errs, e.removeDir())
	} else {
		errs = append(errs, os.Chmod(e.Name, e.Mode), os.Lchown(e.Name, e.UID, e.GID))
	}
	return errors.Join(errs...)
}

// mountsBelow lists what is mounted below a directory, the latest last.
func mountsBelow(dir string) (out []string, err error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, nil //nolint:nilerr // what is not there has no mounts
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, resolved+"/"), false
	})
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	for _, m := range mounts {
		out = append(out, m.Mountpoint)
	}
	return out, nil
}

// unmountBelow detaches all that is mounted below a directory and was not before, the latest first. A mount point that the
// kernel still uses goes from its place at once and for good with its last user.
func unmountBelow(dir string, before []string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range slices.Backward(mounts) {
		if slices.Contains(before, path) {
			continue
		}
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %q: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// Note records what a step's own Undo must know of the time before; the first note under a name is the one that counts.
func (h *Host) Note(step, name, value string) error {
	return h.journal.Record(Entry{Step: step, Kind: KindNote, Name: name, Value: value})
}

// Noted gives what Note recorded.
func (h *Host) Noted(name string) (string, bool) {
	e, ok := h.journal.find(KindNote, name)
	return e.Value, ok
}

// KeepDirs records directories that somebody else is going to make: they go if nothing is in them then.
func (h *Host) KeepDirs(step string, dirs ...string) error {
	known := map[string]bool{}
	var entries []Entry
	for _, dir := range dirs {
		if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
			dir = filepath.Join(parent, filepath.Base(dir)) // on most hosts /lib is a link
		}
		entries = append(entries, missingDirs(step, dir, known)...)
	}
	return h.journal.Record(entries...)
}

// Hide records files and removes them.
func (h *Host) Hide(step string, paths ...string) error {
	if err := h.Keep(step, paths...); err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("set %q aside: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// Keep records files that somebody else is going to write or replace, so that they can be put back.
func (h *Host) Keep(step string, paths ...string) error {
	known := map[string]bool{}
	var entries []Entry
	for _, path := range paths {
		entries = append(entries, missingDirs(step, filepath.Dir(path), known)...)
		e, err := h.journal.fileEntry(step, path)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	return h.journal.Record(entries...)
}
