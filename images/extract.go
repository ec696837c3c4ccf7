package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// stampDir is where a root says which components lie below it.
const stampDir = "usr/local/share/slipway"

// stamp is what Extract leaves beside a component's files, so that Installed need not hash them.
type stamp struct {
	Digest string      `json:"digest"`
	Files  []stampFile `json:"files"`
}

type stampFile struct {
	Path string      `json:"path"`
	Size int64       `json:"size"`
	Mode fs.FileMode `json:"mode"`
}

// Extract puts a component of kind files or rootfs below dest. The blob is verified before its first byte is
// used, and each file gets its name when it is complete. It runs with the rights to set owners: as root.
func (b *Bundle) Extract(ctx context.Context, component, dest string) error {
	p, err := b.find(component)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dest, 0o755); err != nil { //nolint:gosec // a root directory is world-readable
		return fmt.Errorf("extract %q: %w", component, err)
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return fmt.Errorf("extract %q: %w", component, err)
	}
	defer root.Close()
	s := stamp{Digest: p.Digest}
	err = b.walk(ctx, p, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag == tar.TypeReg {
			s.Files = append(s.Files, stampFile{h.Name, h.Size, h.FileInfo().Mode()})
		}
		return place(root, h, r)
	})
	if err == nil && p.Kind == KindFiles {
		err = s.write(root, component)
	}
	if err != nil {
		return fmt.Errorf("extract %q: %w", component, err)
	}
	return nil
}

// Files lists what Extract would put below its destination, directories left out.
func (b *Bundle) Files(ctx context.Context, component string) ([]string, error) {
	p, err := b.find(component)
	if err != nil {
		return nil, err
	}
	out := []string{path.Join(stampDir, component+".json")}
	err = b.walk(ctx, p, func(h *tar.Header, _ io.Reader) error {
		if h.Typeflag != tar.TypeDir {
			out = append(out, path.Clean(h.Name))
		}
		return nil
	})
	return out, err
}

// Manifests gives the files of a component of kind manifests by their path.
func (b *Bundle) Manifests(ctx context.Context, component string) (map[string][]byte, error) {
	p, err := b.find(component)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	err = b.walk(ctx, p, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		data, err := io.ReadAll(r)
		out[path.Clean(h.Name)] = data
		return err
	})
	return out, err
}

// Installed tells whether a component of kind files lies below dest as Extract left it, by its stamp and the
// sizes and modes of its files.
func (b *Bundle) Installed(component, dest string) (bool, error) {
	p, err := b.find(component)
	if err != nil {
		return false, err
	}
	var s stamp
	data, err := os.ReadFile(filepath.Join(dest, stampDir, component+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil || s.Digest != p.Digest {
		return false, nil //nolint:nilerr // a stamp that cannot be read proves nothing
	}
	for _, f := range s.Files {
		st, err := os.Lstat(filepath.Join(dest, f.Path))
		if err != nil || st.Size() != f.Size || st.Mode() != f.Mode {
			return false, nil //nolint:nilerr // missing or changed: not installed
		}
	}
	return true, nil
}

// walk verifies the component's layers, then gives each entry of them.
func (b *Bundle) walk(ctx context.Context, p part, visit func(*tar.Header, io.Reader) error) error {
	for _, l := range p.manifest.Layers {
		if err := b.check(ctx, l); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return b.corrupt(fmt.Errorf("component %q: %w", p.Name, err))
		}
		f, err := os.Open(b.blob(l.Digest))
		if err != nil {
			return fmt.Errorf("read blob %s: %w", l.Digest, err)
		}
		err = walkLayer(cancelled{ctx, f}, visit)
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func walkLayer(r io.Reader, visit func(*tar.Header, io.Reader) error) error {
	z, err := zstd.NewReader(r)
	if err != nil {
		return err
	}
	defer z.Close()
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(h, t); err != nil {
			return err
		}
	}
}

func (s stamp) write(root *os.Root, component string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := root.MkdirAll(stampDir, 0o755); err != nil {
		return err
	}
	name := path.Join(stampDir, component+".json")
	if err := root.WriteFile(name+".new", data, 0o644); err != nil {
		return err
	}
	return root.Rename(name+".new", name)
}

// place makes one entry of an archive below root, which no entry can leave: os.Root refuses that.
func place(root *os.Root, h *tar.Header, r io.Reader) error {
	name := path.Clean(strings.TrimPrefix(h.Name, "/"))
	if name == "." {
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
		return owned(root, name, h)
	case tar.TypeReg:
		return placeFile(root, name, h, r)
	case tar.TypeSymlink:
		_ = root.Remove(name)
		if err := root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return root.Lchown(name, h.Uid, h.Gid)
	case tar.TypeLink:
		_ = root.Remove(name)
		return root.Link(path.Clean(strings.TrimPrefix(h.Linkname, "/")), name)
	}
	return fmt.Errorf("entry %q has the type %q, which no bundle holds", h.Name, h.Typeflag)
}

func placeFile(root *os.Root, name string, h *tar.Header, r io.Reader) error {
	tmp := name + ".slipway-new"
	f, err := root.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	for k, v := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok && err == nil {
			err = unix.Fsetxattr(int(f.Fd()), attr, []byte(v), 0) //nolint:gosec // a descriptor fits
		}
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = owned(root, tmp, h)
	}
	if err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		_ = root.Remove(tmp)
	}
	return err
}

func owned(root *os.Root, name string, h *tar.Header) error {
	// Owner before mode: changing the owner clears the set-user-ID bit.
	if err := root.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := root.Chmod(name, h.FileInfo().Mode()); err != nil {
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}
