package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/internal/fault"
)

// ArchiveOf opens a user's image for ImportArchive: a tar file as it is, compressed or not, or the folder of an OCI
// layout as a stream of tar. What is neither is refused before anything is sent.
func ArchiveOf(path string) (io.ReadCloser, error) {
	r, err := openArchive(path)
	if err != nil {
		return nil, fault.New("image-unreadable", fmt.Sprintf("read image %q", path), err,
			"give a file made by `docker save NAME:TAG` or an OCI layout")
	}
	return r, nil
}

func openArchive(path string) (io.ReadCloser, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openLayout(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(looksLikeTar(f), rewind(f)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func looksLikeTar(r io.Reader) error {
	plain, err := compression.DecompressStream(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	if _, err := tar.NewReader(plain).Next(); err != nil {
		return fmt.Errorf("it is not a tar archive: %w", err)
	}
	return nil
}

func rewind(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func openLayout(dir string) (io.ReadCloser, error) {
	for _, name := range []string{v1.ImageLayoutFile, v1.ImageIndexFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("it is not an OCI layout: %w", err)
		}
	}
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		w.CloseWithError(errors.Join(t.AddFS(os.DirFS(dir)), t.Close()))
	}()
	return r, nil
}
