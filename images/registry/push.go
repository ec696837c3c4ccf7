package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
)

// Push puts a bundle into a registry under the tag of ref, and gives the reference by digest. Blobs that are there are not
// sent. What is damaged here is not sent either. The faults are those of Open, and bundle-corrupt.
func Push(ctx context.Context, b *images.Bundle, ref Ref, o Options, report func(string)) (Ref, error) {
	op := fmt.Sprintf("push bundle %q to %q", b.Dir(), ref)
	if ref.tag == "" {
		return Ref{}, fault.New("option-invalid", op, errors.New("the reference has no tag"), "name a tag, for example the Kubernetes version")
	}
	repo, err := newRepository(ref, o, storeTime)
	if err != nil {
		return Ref{}, err
	}
	report("check every byte")
	if err := b.Verify(ctx); err != nil {
		return Ref{}, err
	}
	if err := repo.push(ctx, b, report); err != nil {
		return Ref{}, repo.failed(op, err)
	}
	return ref.pinned(digest.Digest(b.Digest())), nil
}

func (r *repository) push(ctx context.Context, b *images.Bundle, report func(string)) error {
	index, err := layout.ImageIndexFromPath(b.Dir())
	if err != nil {
		return err
	}
	var total int64
	for _, d := range b.Blobs(Whole) {
		total += d.Size
	}
	m := newMeter("sent %d of up to %d MiB", total, report)
	defer m.stop()
	return remote.WriteIndex(r.name.Tag(r.ref.tag), index, remote.WithContext(ctx), remote.WithTransport(&counter{r.base, m.add}),
		remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithJobs(parallel))
}
