package images

import (
	"context"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Save writes images as an OCI archive that `docker load` takes too. Each blob is checked against its digest, and comes from the
// first of the stores that has it.
func Save(ctx context.Context, w io.Writer, stores []*NodeStore, list []Stored) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	how := []archive.ExportOpt{archive.WithPlatform(platforms.Default())}
	for _, i := range list {
		how = append(how, archive.WithManifest(i.target, i.Name))
	}
	return archive.Export(ctx, anyStore(stores), w, how...)
}

// anyStore has what any of them has.
type anyStore []*NodeStore

func (a anyStore) Info(ctx context.Context, d digest.Digest) (info content.Info, err error) {
	for _, s := range a {
		if info, err = s.c.ContentStore().Info(ctx, d); !errdefs.IsNotFound(err) {
			break
		}
	}
	return info, err
}

func (a anyStore) ReaderAt(ctx context.Context, d v1.Descriptor) (r content.ReaderAt, err error) {
	for _, s := range a {
		if r, err = s.c.ContentStore().ReaderAt(ctx, d); !errdefs.IsNotFound(err) {
			break
		}
	}
	return r, err
}
