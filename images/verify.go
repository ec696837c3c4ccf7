package images

import (
	"context"
	"errors"
	"io"
	"runtime"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Verify reads every blob of the bundle and reports each one that is missing or damaged, with a component it is of.
func (b *Bundle) Verify(ctx context.Context) error {
	type job struct {
		of   part
		blob v1.Descriptor
	}
	var jobs []job
	seen := map[string]bool{}
	for _, p := range b.parts {
		for _, d := range p.blobs() {
			if !seen[d.Digest.String()] {
				seen[d.Digest.String()] = true
				jobs = append(jobs, job{p, d})
			}
		}
	}
	problems := make([]error, len(jobs))
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for i, j := range jobs {
		g.Go(func() error {
			if err := b.verifyBlob(ctx, j.blob); err != nil && ctx.Err() == nil {
				problems[i] = b.damaged(j.of, j.blob, err)
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return errors.Join(problems...)
}

func (b *Bundle) verifyBlob(ctx context.Context, d v1.Descriptor) error {
	r, err := b.open(d)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, cancelled{ctx, r}); err != nil {
		return err
	}
	return r.finish()
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
