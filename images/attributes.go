package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cloneDir makes a directory with the attributes of another.
func cloneDir(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return cloneAttributes(from, to, info)
}

func cloneAttributes(from, to string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("no details of %q", from)
	}
	if err := errors.Join(owned(os.Lchown(to, int(st.Uid), int(st.Gid))), os.Chmod(to, info.Mode())); err != nil {
		return err
	}
	if err := cloneXattrs(from, to); err != nil {
		return err
	}
	if info.IsDir() {
		return nil // cloneTimes does it once the directory is filled
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}

func cloneTimes(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}

func cloneXattrs(from, to string) error {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(from, names)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list attributes of %q: %w", from, err)
	}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(from, name, value)
		if err == nil {
			err = unix.Lsetxattr(to, name, value[:n], 0)
		}
		if err != nil {
			return fmt.Errorf("copy attribute %q of %q: %w", name, from, err)
		}
	}
	return nil
}
