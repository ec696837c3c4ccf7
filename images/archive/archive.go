package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/internal/fault"
)

// Archive is an opened one. Its manifests and configurations have been read and checked, its layers have not.
type Archive struct {
	Path   string
	Images []Image
	files  files
	made   map[digest.Digest]blob // blobs that are not named by their digest in it
}

// Image is an image of an archive that has a manifest for this computer.
type Image struct {
	Name   string        // in full: "echo" is docker.io/library/echo:latest
	Target v1.Descriptor // of its manifest, or of an index with that
	// Blobs are all that it consists of on this platform, each after those that name it.
	Blobs []v1.Descriptor
	of    *Archive
}

// blob is a file of the archive, or something that was made of such.
type blob struct {
	file  string
	data  []byte
	plain digest.Digest // of a layer that has no digest but unpacked
}

// Open reads what is in the archive; all that is wrong with it is reported at once. One that is compressed, or comes through a
// pipe, is first unpacked into a file without a name below scratch.
func Open(ctx context.Context, path, scratch string) (*Archive, error) {
	a := &Archive{Path: path, made: map[digest.Digest]blob{}}
	var err error
	if a.files, err = openFiles(ctx, path, scratch); err == nil {
		err = a.read(ctx)
	}
	switch {
	case err == nil:
		return a, nil
	case a.files != nil:
		a.Close()
	}
	return nil, err
}

// Close lets go of the file. Nothing can be read of it from then on.
func (a *Archive) Close() error { return a.files.Close() }

func (a *Archive) read(ctx context.Context) error {
	_, err := a.files.open(v1.ImageIndexFile)
	switch {
	case err == nil:
		err = a.readLayout(ctx)
	case errors.Is(err, fs.ErrNotExist):
		err = a.readDocker(ctx)
	default:
		err = a.unreadable(err)
	}
	if err == nil && len(a.Images) == 0 {
		err = a.unreadable(errors.New("no image in it has a name; tag one first"))
	}
	return err
}

// ReaderAt reads a blob, as far as it is there; it is not compared with its digest. The error for none is of the kind NotFound.
func (a *Archive) ReaderAt(_ context.Context, d v1.Descriptor) (content.ReaderAt, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, err
	}
	b, ok := a.made[d.Digest]
	if !ok {
		b.file = fmt.Sprintf("%s/%s/%s", v1.ImageBlobsDir, d.Digest.Algorithm(), d.Digest.Encoded())
	}
	if b.data != nil {
		return section(bytesFile(b.data), 0, int64(len(b.data))), nil
	}
	r, err := a.files.open(b.file)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("blob %s is missing: %w", d.Digest, errdefs.ErrNotFound)
	}
	return r, err
}

// Open reads one of the image's blobs.
func (i Image) Open(ctx context.Context, d v1.Descriptor) (content.ReaderAt, error) {
	return i.of.ReaderAt(ctx, d)
}

// Verify reads those blobs that are wanted, all if want is nil, and reports each one that is not what its digest says.
func (a *Archive) Verify(ctx context.Context, want func(digest.Digest) bool) error {
	todo := map[digest.Digest]v1.Descriptor{}
	for _, i := range a.Images {
		for _, d := range i.Blobs {
			if want == nil || want(d.Digest) {
				todo[d.Digest] = d
			}
		}
	}
	problems := make(chan error, len(todo))
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for _, d := range todo {
		g.Go(func() error {
			if err := a.verify(ctx, d); err != nil {
				problems <- a.unreadable(err)
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	close(problems)
	var errs []error
	for err := range problems {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (a *Archive) verify(ctx context.Context, d v1.Descriptor) error {
	r, err := a.ReaderAt(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.Size() != d.Size {
		return fmt.Errorf("blob %s has %d bytes, not %d", d.Digest, r.Size(), d.Size)
	}
	if err := matches(ctx, content.NewReader(r), d.Digest); err != nil {
		return err
	}
	b := a.made[d.Digest]
	if b.plain == "" {
		return nil
	}
	plain, err := compression.DecompressStream(content.NewReader(r))
	if err != nil {
		return fmt.Errorf("layer %s: %w", b.file, err)
	}
	defer plain.Close()
	return matches(ctx, plain, b.plain)
}

func matches(ctx context.Context, r io.Reader, d digest.Digest) error {
	v := d.Verifier()
	if _, err := io.Copy(v, cancelled{ctx, r}); err != nil {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	if !v.Verified() {
		return fmt.Errorf("blob %s is damaged: its content does not match its digest", d)
	}
	return nil
}

// cancelled is a reader that ends with its context.
type cancelled struct {
	ctx context.Context //nolint:containedctx // a reader lives no longer than the call it is made in
	io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

func (a *Archive) unreadable(err error) error { return unreadable(a.Path, err) }

func unreadable(path string, err error) error {
	return fault.New("image-unreadable", fmt.Sprintf("read image archive %q", path), err,
		"give a file made by `docker save NAME:TAG`, an OCI archive or the directory of an OCI layout")
}
