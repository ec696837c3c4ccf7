package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const xattrPrefix = "SCHILY.xattr."

// entryError is an entry that no honest archive has.
type entryError struct{ name, reason string }

func (e *entryError) Error() string { return fmt.Sprintf("entry %q %s", e.name, e.reason) }

// tree writes an archive's entries below one directory. The os.Root refuses every path that leads out of it, be
// it by "..", by a symlink or by a hard link.
type tree struct {
	root  *os.Root
	dirs  []*tar.Header
	files []string // all but directories
}

func newTree(dir string) (*tree, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &tree{root: root}, nil
}

func (t *tree) Close() error { return t.root.Close() }

func (t *tree) add(h *tar.Header, r io.Reader) error {
	name := path.Clean(strings.TrimPrefix(h.Name, "./"))
	if !filepath.IsLocal(name) {
		return &entryError{h.Name, "leads out of the tree"}
	}
	if h.Typeflag == tar.TypeDir {
		return t.addDir(name, h)
	}
	if err := t.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return escape(h, err)
	}
	if err := t.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return escape(h, err)
	}
	if err := t.make(name, h, r); err != nil {
		return escape(h, err)
	}
	t.files = append(t.files, name)
	return nil
}

func (t *tree) make(name string, h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeReg:
		return t.addFile(name, h, r)
	case tar.TypeSymlink:
		if err := t.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return owned(t.root.Lchown(name, h.Uid, h.Gid))
	case tar.TypeLink:
		return t.root.Link(path.Clean(strings.TrimPrefix(h.Linkname, "./")), name)
	default:
		return &entryError{h.Name, fmt.Sprintf("is of type %q, which a bundle does not have", h.Typeflag)}
	}
}

func (t *tree) addFile(name string, h *tar.Header, r io.Reader) error {
	f, err := t.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err := errors.Join(err, attributes(f, h), f.Close()); err != nil {
		return err
	}
	return t.root.Chtimes(name, h.ModTime, h.ModTime)
}

func (t *tree) addDir(name string, h *tar.Header) error {
	if err := t.root.MkdirAll(name, 0o755); err != nil {
		return escape(h, err)
	}
	d, err := t.root.Open(name)
	if err != nil {
		return escape(h, err)
	}
	defer d.Close()
	dir := *h
	dir.Name = name
	t.dirs = append(t.dirs, &dir)
	return attributes(d, h)
}

// attributes sets owner, mode and extended attributes, in the only order in which none undoes another: a change of
// owner drops set-user-id bits and file capabilities.
func attributes(f *os.File, h *tar.Header) error {
	if err := errors.Join(owned(f.Chown(h.Uid, h.Gid)), f.Chmod(h.FileInfo().Mode())); err != nil {
		return err
	}
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrPrefix)
		if !ok {
			continue
		}
		if err := unix.Fsetxattr(int(f.Fd()), name, []byte(v), 0); err != nil {
			return fmt.Errorf("set attribute %q of %q: %w", name, h.Name, err)
		}
	}
	return nil
}

// owned lets a user who is not root have the files as their own.
func owned(err error) error {
	if os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// finish sets the times of directories, which each new entry in them changes.
func (t *tree) finish() error {
	var errs []error
	for _, h := range t.dirs {
		errs = append(errs, t.root.Chtimes(h.Name, h.ModTime, h.ModTime))
	}
	return errors.Join(errs...)
}

// escape gives what os.Root says of a path that leads out of it, by any symlink or link, as what it is: a bad entry.
func escape(h *tar.Header, err error) error {
	if strings.Contains(err.Error(), "path escapes") { // the error has no exported value
		return &entryError{h.Name, "leads out of the tree"}
	}
	return err
}
