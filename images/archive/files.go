package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// files is what an archive consists of. What is open may be read from several goroutines.
type files interface {
	open(name string) (content.ReaderAt, error) // fs.ErrNotExist for none
	io.Closer
}

func openFiles(ctx context.Context, path, scratch string) (files, error) {
	f, err := open(ctx, path, scratch)
	if err != nil && ctx.Err() == nil {
		err = unreadable(path, err)
	}
	return f, err
}

func open(ctx context.Context, path, scratch string) (files, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openDir(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if plain := info.Mode().IsRegular() && !compressed(f); !plain {
		if f, err = unpack(ctx, f, scratch); err != nil {
			return nil, err
		}
	}
	t, err := indexTar(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

// directory is an OCI layout.
type directory struct{ *os.Root }

func openDir(path string) (files, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if _, err := root.Stat(v1.ImageIndexFile); err != nil {
		root.Close()
		return nil, fmt.Errorf("it is not an OCI layout: %w", err)
	}
	return directory{root}, nil
}

func (d directory) open(name string) (content.ReaderAt, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &part{SectionReader: io.NewSectionReader(f, 0, info.Size()), Closer: f}, nil
}

// tarFile knows where each file of a tar archive begins, so that it can be read in any order and nothing is copied.
type tarFile struct {
	*os.File
	entries map[string]entry
}

type entry struct {
	offset, size int64
	link         string // to another entry
}

func indexTar(f *os.File) (*tarFile, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	t := &tarFile{File: f, entries: map[string]entry{}}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		switch {
		case err == io.EOF && len(t.entries) == 0: //nolint:errorlint // tar gives this very one
			return nil, errors.New("it is empty")
		case err == io.EOF: //nolint:errorlint // tar gives this very one
			return t, nil
		case err != nil:
			return nil, fmt.Errorf("it is not a tar archive, or a damaged one: %w", err)
		}
		at, err := f.Seek(0, io.SeekCurrent) // the reader does not read ahead
		if err != nil {
			return nil, err
		}
		t.entries[clean(h.Name)] = newEntry(h, at)
	}
}

func newEntry(h *tar.Header, at int64) entry {
	switch h.Typeflag {
	case tar.TypeSymlink: // docker before 25 writes a layer that two images have only once
		return entry{link: clean(path.Join(path.Dir(h.Name), h.Linkname))}
	case tar.TypeLink:
		return entry{link: clean(h.Linkname)}
	}
	return entry{offset: at, size: h.Size}
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func (t *tarFile) open(name string) (content.ReaderAt, error) {
	e, ok := t.entries[clean(name)]
	if ok && e.link != "" {
		e, ok = t.entries[e.link]
	}
	if !ok || e.link != "" {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return section(t.File, e.offset, e.size), nil
}

// part is a range of something that others read too.
type part struct {
	*io.SectionReader
	io.Closer
}

func section(r io.ReaderAt, offset, size int64) content.ReaderAt {
	return &part{io.NewSectionReader(r, offset, size), io.NopCloser(nil)}
}

func bytesFile(data []byte) io.ReaderAt { return bytes.NewReader(data) }

// compressed looks at how the file begins.
func compressed(f *os.File) bool { return compressionOf(f) != compression.Uncompressed }

func compressionOf(r io.ReaderAt) compression.Compression {
	const longest = 10 // of the beginnings that are known
	head := make([]byte, longest)
	n, _ := r.ReadAt(head, 0) // what cannot be read is found out soon
	return compression.DetectCompression(head[:n])
}

// unpack gives the plain archive and closes the other. Its file has lost its name: it goes however this program ends.
func unpack(ctx context.Context, f *os.File, scratch string) (*os.File, error) {
	defer f.Close()
	if err := os.MkdirAll(scratch, 0o755); err != nil { //nolint:gosec // the cache's other directories are like this
		return nil, err
	}
	plain, err := compression.DecompressStream(f)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	out, err := os.CreateTemp(scratch, "image-")
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(out, cancelled{ctx, plain})
	if err = errors.Join(os.Remove(out.Name()), err); err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}
