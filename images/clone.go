package images

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/fault"
)

// A store is laid out as PLUGIN/blobs/sha256/X, PLUGIN/snapshots/N/..., PLUGIN/DATABASE. Only by depth can its own files
// be told from those of the images in it, which may have any name.
const (
	pluginDepth   = 0
	databaseDepth = 1
	snapshotDepth = 2 // also that of sha256/: what lies here is cloned side by side
)

// isDatabase finds what each containerd writes to; all other files of a store are never written again.
func isDatabase(name string, depth int) bool {
	return depth == databaseDepth && (name == "meta.db" || name == "metadata.db")
}

// isScratch finds what containerd uses for work in progress, of which a finished store has none.
func isScratch(name string, depth int) bool {
	return depth == pluginDepth && name == "tmpmounts" || depth == databaseDepth && name == "ingest" ||
		depth == snapshotDepth && strings.HasPrefix(name, "new-")
}

// CloneContainerd makes dst, with its parents, a complete containerd directory of its own: blobs and files of layers
// are hard links, which cost nothing and are never written, and the databases are copies. If dst is there, it is
// complete and left alone: it gets its name last.
func (u *Unpacked) CloneContainerd(dst string) error {
	if exists(dst) {
		return nil
	}
	if err := u.cloneContainerd(dst, dst+".new"); err != nil {
		return fault.New("store-clone-failed", fmt.Sprintf("make the image store %q", dst), err,
			"free the disk or remove what is in the way, then run the command again")
	}
	return nil
}

func (u *Unpacked) cloneContainerd(dst, tmp string) error {
	if err := os.RemoveAll(tmp); err != nil { // of a run that was killed
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o700); err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(2 * runtime.NumCPU())
	if err := errors.Join(cloneTree(&g, u.Containerd, tmp, 0), g.Wait()); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return os.Rename(tmp, dst)
}

func cloneTree(g *errgroup.Group, from, to string, depth int) error {
	if err := cloneDir(from, to); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case isScratch(e.Name(), depth):
			continue // containerd makes its folders when it starts
		case isDatabase(e.Name(), depth):
			err = copyEntry(src, dst)
		case !e.IsDir():
			err = linkEntry(src, dst)
		case depth == snapshotDepth:
			g.Go(func() error { return cloneTree(g, src, dst, depth+1) })
		default:
			err = cloneTree(g, src, dst, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return cloneTimes(from, to)
}

// linkEntry shares a file, or copies it where links do not reach.
func linkEntry(from, to string) error {
	err := os.Link(from, to) // of a symlink, too, the link itself
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, fs.ErrPermission) {
		return copyEntry(from, to)
	}
	return err
}

// copyEntry copies anything but a directory, with all its attributes.
func copyEntry(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		err = copyContent(from, to)
	case mode&fs.ModeSymlink != 0:
		return copySymlink(from, to, info)
	default: // a whiteout is a device
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("no details of %q", from)
		}
		err = unix.Mknod(to, st.Mode, int(st.Rdev)) //nolint:gosec // a device number fits
	}
	if err != nil {
		return err
	}
	return cloneAttributes(from, to, info)
}

func copyContent(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func copySymlink(from, to string, info fs.FileInfo) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	if err := os.Symlink(target, to); err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return owned(os.Lchown(to, int(st.Uid), int(st.Gid)))
	}
	return nil
}

// blobs is where containerd keeps what it knows by its digest. It writes elsewhere, and moves here what is complete.
const blobs = "io.containerd.content.v1.content/blobs"

// Final tells of files in a machine's containerd directory that they are never written again, so that a copy may be a link: blobs, and
// files that are also in the store that the directory was cloned from. Of other snapshots only containerd knows which are finished.
func Final(store string) func(path string, info fs.FileInfo) bool {
	return func(path string, info fs.FileInfo) bool {
		if strings.HasPrefix(path, blobs+"/") {
			return true
		}
		there, err := os.Lstat(filepath.Join(store, path))
		return err == nil && os.SameFile(there, info)
	}
}

// IsContent tells whether a path in a containerd directory is of images or containers, and not containerd's own record of these.
func IsContent(path string) bool {
	parts := strings.SplitN(path, "/", 3)
	return len(parts) == 3 && (parts[1] == "blobs" || parts[1] == "snapshots")
}
