package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
)

// Remote is a bundle in a registry. What of it is small is here already: as an opened bundle it can be listed, and its
// manifests be read, but nothing can be installed from it.
type Remote struct {
	*images.Bundle
	repo   *repository
	client *http.Client
	idle   time.Duration // see idleTime
}

// parallel is how many blobs are sent or fetched at the same time.
const parallel = 4

// metadataLimit is far above any index and manifest, and keeps a forged one from filling the memory.
const metadataLimit = 16 << 20

// Open asks the registry what ref means and fetches index, manifests and upstream's YAML, less than a MiB, into a
// directory that Close removes. The faults are registry-unreachable, registry-denied, registry-untrusted, bundle-missing,
// disk-full, and those of images.Open.
func Open(ctx context.Context, ref Ref, o Options) (*Remote, error) {
	repo, err := newRepository(ref, o, answerTime)
	if err != nil {
		return nil, err
	}
	op := fmt.Sprintf("find bundle %q", ref)
	client, err := repo.client(ctx)
	if err != nil {
		return nil, repo.failed(op, err)
	}
	r := &Remote{repo: repo, client: client, idle: idleTime}
	dir, err := os.MkdirTemp("", "slipway-bundle-")
	if err != nil {
		return nil, r.diskOr(op, err)
	}
	if r.Bundle, err = r.glance(ctx, dir); err != nil {
		return nil, errors.Join(r.diskOr(op, err), os.RemoveAll(dir))
	}
	return r, nil
}

// Close removes what Open has made.
func (r *Remote) Close() { _ = os.RemoveAll(r.Dir()) }

// Ref is the reference by digest: what was found, whatever the tag means later.
func (r *Remote) Ref() Ref { return r.repo.ref }

// glance makes a bundle in dir that has no large blobs.
func (r *Remote) glance(ctx context.Context, dir string) (*images.Bundle, error) {
	data, err := r.manifest(ctx, r.repo.ref.identifier(), v1.MediaTypeImageIndex)
	if err != nil {
		return nil, err
	}
	r.repo.ref = r.repo.ref.pinned(digest.FromBytes(data))
	var index v1.Index
	if err := json.Unmarshal(data, &index); err != nil || index.Annotations[images.AnnotationFormat] == "" {
		return nil, damaged(fmt.Sprintf("read %q", r.repo.ref), errors.New("it is something else than a bundle"))
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, d := range index.Manifests {
		g.Go(func() error { return r.glanceAt(gctx, dir, d) })
	}
	if err := errors.Join(g.Wait(), writeLayout(dir, data)); err != nil {
		return nil, err
	}
	b, err := images.Open(dir)
	var f *fault.Error
	if errors.As(err, &f) { // the directory says nothing to anybody
		f.Op = fmt.Sprintf("open bundle %q", r.repo.ref)
	}
	return b, err
}

func (r *Remote) glanceAt(ctx context.Context, dir string, d v1.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return damaged(fmt.Sprintf("read %q", r.repo.ref), err)
	}
	data, err := r.manifest(ctx, d.Digest.String(), v1.MediaTypeImageManifest)
	if err != nil {
		return err
	}
	if err := writeFile(blobPath(dir, d), data); err != nil || d.Annotations[images.AnnotationKind] != images.KindManifests {
		return err
	}
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return damaged(fmt.Sprintf("read manifest %s of %q", d.Digest, r.repo.ref), err)
	}
	for _, layer := range m.Layers {
		if layer.Size > metadataLimit {
			return damaged(fmt.Sprintf("read %q", r.repo.ref), fmt.Errorf("YAML of %d bytes is too much", layer.Size))
		}
		if err := r.fetch(ctx, dir, layer, func(int64) {}); err != nil {
			return err
		}
	}
	return nil
}

// manifest gives a manifest or an index by its tag or digest.
func (r *Remote) manifest(ctx context.Context, identifier, mediaType string) ([]byte, error) {
	resp, err := r.get(ctx, "manifests/"+identifier, http.Header{"Accept": {mediaType}}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, metadataLimit))
	if err != nil {
		return nil, err
	}
	want := digest.Digest(identifier)
	if want.Validate() == nil && want != digest.FromBytes(data) {
		return nil, damaged(fmt.Sprintf("read manifest %s of %q", want, r.repo.ref),
			fmt.Errorf("what the registry gave has the digest %s", digest.FromBytes(data)))
	}
	return data, nil
}

// get asks for a part of the repository. The answer's status is one of want.
func (r *Remote) get(ctx context.Context, path string, header http.Header, want ...int) (*http.Response, error) {
	url := fmt.Sprintf("%s://%s/v2/%s/%s", r.repo.name.Scheme(), r.repo.name.RegistryStr(), r.repo.name.RepositoryStr(), path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, want...); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func damaged(op string, err error) error {
	return fault.New("bundle-corrupt", op, err, "push the bundle again with `slipway images push`, and compare digests with whoever built it")
}

// blobPath is where a blob lies in the directory of a bundle. Its digest must have been validated.
func blobPath(dir string, d v1.Descriptor) string {
	return filepath.Join(dir, v1.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded())
}

// writeLayout makes a directory with blobs a bundle: the index comes last and at once.
func writeLayout(dir string, index []byte) error {
	layout, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return errors.Join(writeFile(filepath.Join(dir, v1.ImageLayoutFile), layout), writeFile(filepath.Join(dir, v1.ImageIndexFile), index))
}
