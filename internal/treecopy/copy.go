package treecopy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Final tells of a file, by its path in the tree, that nobody writes to it any more, so that the copy may be a link.
type Final func(path string, info fs.FileInfo) bool

// Size is what a copy consists of.
type Size struct {
	Files  int   `json:"files"`  // of all kinds, directories too
	Copied int64 `json:"copied"` // bytes of data, which may still share their blocks with the original
	Linked int64 `json:"linked"` // bytes
}

// Add sums up.
func (s *Size) Add(o Size) {
	s.Files, s.Copied, s.Linked = s.Files+o.Files, s.Copied+o.Copied, s.Linked+o.Linked
}

// chunk is how much of a file is copied or read before the context is looked at again.
const chunk = 16 << 20

// Copy makes to, which must not be there, a copy of the directory from with all attributes. Nobody may write below from meanwhile.
func Copy(ctx context.Context, from, to string, final Final) (Size, error) {
	c := &copier{from: from, to: to, final: final, links: map[inode]string{}}
	err := c.dir(ctx, ".")
	return c.size, err
}

// inode is a file that has several names.
type inode struct{ device, number uint64 }

type copier struct {
	from, to string
	final    Final
	links    map[inode]string // where the first name of it is in the copy
	size     Size
}

func (c *copier) dir(ctx context.Context, path string) error {
	from, to := filepath.Join(c.from, path), filepath.Join(c.to, path)
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	c.size.Files++
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		below := filepath.Join(path, e.Name())
		if e.IsDir() {
			err = c.dir(ctx, below)
		} else {
			err = c.file(ctx, below)
		}
		if err != nil {
			return err
		}
	}
	return attributes(from, to, info) // last: its time is changed by what is put into it
}

func (c *copier) file(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	from, to := filepath.Join(c.from, path), filepath.Join(c.to, path)
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("no details of %q", from)
	}
	c.size.Files++
	if c.final != nil && c.final(path, info) {
		if err := os.Link(from, to); !beyondLinks(err) {
			c.size.Linked += info.Size()
			return err
		}
	}
	if st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := c.links[id]; ok {
			return os.Link(first, to)
		}
		c.links[id] = to
	}
	n, err := fill(ctx, from, to, st, info.Mode())
	c.size.Copied += n
	if err != nil {
		return err
	}
	return attributes(from, to, info)
}

// fill makes anything but a directory, and tells how many bytes of data are in it.
func fill(ctx context.Context, from, to string, st *syscall.Stat_t, mode fs.FileMode) (int64, error) {
	switch {
	case mode.IsRegular():
		return content(ctx, from, to)
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return 0, err
		}
		return 0, os.Symlink(target, to)
	}
	// A pipe, a socket, or an overlay's whiteout, which is a device.
	if err := unix.Mknod(to, st.Mode, int(st.Rdev)); err != nil { //nolint:gosec // a device number fits
		return 0, fmt.Errorf("make %q: %w", to, err)
	}
	return 0, nil
}

// beyondLinks tells whether a copy helps where a link does not.
func beyondLinks(err error) bool {
	return errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, fs.ErrPermission)
}

// content gives the bytes of data, which are less than the file's size if it has holes.
func content(ctx context.Context, from, to string) (int64, error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := share(in, out)
	if err != nil {
		n, err = copyData(ctx, in, out)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return n, fmt.Errorf("copy %q: %w", from, err)
	}
	return n, nil
}

// share has the file system make out of the same blocks as in, until one of the two is written to. XFS and Btrfs can.
func share(in, out *os.File) (int64, error) {
	if err := unix.IoctlFileClone(int(out.Fd()), int(in.Fd())); err != nil {
		return 0, err
	}
	info, err := in.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func copyData(ctx context.Context, in, out *os.File) (copied int64, err error) {
	info, err := in.Stat()
	if err != nil {
		return 0, err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return 0, err
	}
	for end := int64(0); ; {
		begin, err := unix.Seek(int(in.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole
			return copied, nil
		}
		if err != nil {
			return copied, err
		}
		if end, err = unix.Seek(int(in.Fd()), begin, unix.SEEK_HOLE); err != nil {
			return copied, err
		}
		if err := copyRange(ctx, in, out, begin, end); err != nil {
			return copied, err
		}
		copied += end - begin
	}
}

func copyRange(ctx context.Context, in, out *os.File, begin, end int64) error {
	from, to := begin, begin
	for from < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.CopyFileRange(int(in.Fd()), &from, int(out.Fd()), &to, int(min(end-from, chunk)), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("it became shorter meanwhile")
		}
	}
	return nil
}

func attributes(from, to string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("no details of %q", from)
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	link := info.Mode()&fs.ModeSymlink != 0
	if !link {
		if err := os.Chmod(to, info.Mode()); err != nil {
			return err
		}
	}
	if err := extended(from, to); err != nil {
		return err
	}
	if link {
		return nil
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}

// Measure tells what a copy would consist of. The tree may change meanwhile.
func Measure(from string, final Final) (Size, error) {
	var s Size
	err := filepath.WalkDir(from, func(full string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		path, err := filepath.Rel(from, full)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		s.Files++
		st, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !ok || !info.Mode().IsRegular():
		case final != nil && final(path, info):
			s.Linked += info.Size()
		default:
			s.Copied += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("look at %q: %w", from, err)
	}
	return s, nil
}
