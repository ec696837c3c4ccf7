package registry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// has tells by its size whether a blob is there.
func has(dir string, d v1.Descriptor) bool {
	info, err := os.Stat(blobPath(dir, d))
	return err == nil && info.Mode().IsRegular() && info.Size() == d.Size
}

// intact tells by its content.
func intact(dir string, d v1.Descriptor) bool {
	f, _, err := openFile(blobPath(dir, d))
	if err != nil {
		return false
	}
	defer f.Close()
	return check(f, d) == nil
}

// check reads a blob to its end.
func check(blob io.Reader, d v1.Descriptor) error {
	verifier := d.Digest.Verifier()
	n, err := io.Copy(verifier, blob)
	if err == nil && (n != d.Size || !verifier.Verified()) {
		err = errDigest
	}
	return err
}

// openFile opens a regular file, and waits for nobody who would have to write into it if it is something else.
func openFile(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is no regular file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// linkBlob takes a blob over that has the right content: as a hard link, since nobody writes to a blob, or else as a copy. One of
// another user is not taken, who could still write to it.
func linkBlob(from, to string, d v1.Descriptor) error {
	in, info, err := openFile(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%q is somebody else's", from)
	}
	if err := check(in, d); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // a bundle has no secrets
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) { // which is damaged
		return err
	}
	// The file that was read, whatever its name means by now.
	opened := fmt.Sprintf("/proc/self/fd/%d", in.Fd())
	if unix.Linkat(unix.AT_FDCWD, opened, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW) == nil {
		return nil
	}
	return copyBlob(in, to, d)
}

// copyBlob gives the copy its name once it is whole. What is read a second time is checked a second time.
func copyBlob(in *os.File, to string, d v1.Descriptor) error {
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	out, err := renameio.NewPendingFile(to, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer out.Cleanup() //nolint:errcheck // there is nothing left to clean up, or an error to report before
	if err := check(io.TeeReader(in, out), d); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}
