package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Verify checks every blob against its digest and size. Every blob that is wrong is named, with the
// component it belongs to; the fault is bundle-corrupt.
func (b *Bundle) Verify(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	var mu sync.Mutex
	var errs []error
	seen := map[digest.Digest]bool{}
	for _, p := range b.parts {
		for _, d := range p.blobs() {
			if seen[d.Digest] {
				continue
			}
			seen[d.Digest] = true
			g.Go(func() error {
				if err := b.check(ctx, d); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, b.corrupt(fmt.Errorf("component %q: %w", p.Name, err)))
				}
				return nil
			})
		}
	}
	_ = g.Wait() // the functions return no errors: all are collected
	return errors.Join(errs...)
}

// check reads a blob to its end.
func (b *Bundle) check(ctx context.Context, d ocispec.Descriptor) error {
	f, err := os.Open(b.blob(d.Digest))
	if err != nil {
		return fmt.Errorf("read blob %s: %w", d.Digest, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read blob %s: %w", d.Digest, err)
	}
	if st.Size() != d.Size {
		return fmt.Errorf("blob %s has %d bytes instead of %d", d.Digest, st.Size(), d.Size)
	}
	got, err := d.Digest.Algorithm().FromReader(cancelled{ctx, f})
	if err != nil {
		return fmt.Errorf("read blob %s: %w", d.Digest, err)
	}
	if got != d.Digest {
		return fmt.Errorf("blob %s: its bytes have the digest %s", d.Digest, got)
	}
	return nil
}

// cancelled reads until the context ends.
type cancelled struct {
	ctx context.Context //nolint:containedctx // a reader's only way to one
	f   *os.File
}

func (c cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.f.Read(p)
}
