package images

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/client"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// keptLease holds on to what others had in a containerd under the names of the bundle's images.
const keptLease = "slipway-kept"

// Alias gives the bundle with one image more: that of component once again, as a component of another name with the
// reference ref. If ref is the component's own, nothing is added.
func (b *Bundle) Alias(component, name, ref string) (*Bundle, error) {
	p, err := b.partOf(component, KindImage)
	if err != nil || p.Ref == ref {
		return b, err
	}
	out := *b
	p.Name, p.Ref = name, ref
	out.parts = append(slices.Clone(b.parts), p)
	return &out, nil
}

// Before is what a name stood for in a containerd before images were imported.
type Before struct {
	Name  string           `json:"name"`
	Image *ctrimages.Image `json:"image,omitempty"` // nil: for nothing
	Ours  digest.Digest    `json:"ours"`            // what Import makes it stand for
}

// Keep notes what the names that Import will write stand for in the containerd behind socket, which may be somebody
// else's, and keeps the content of that until PutBack.
func (b *Bundle) Keep(ctx context.Context, socket string, names []string) ([]Before, error) {
	parts, c, err := b.choose(socket, names)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx = namespaces.WithNamespace(ctx, namespace)
	lease := leases.Lease{ID: keptLease}
	if _, err := c.LeasesService().Create(ctx, leases.WithID(lease.ID)); err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, unreachable(socket, err)
	}
	var out []Before
	for _, p := range parts {
		for _, name := range imageNames(p.Ref, p.Digest, p.manifest.Config.Digest.String()) {
			was, err := keep(ctx, c, lease, name)
			if err != nil {
				return nil, unreachable(socket, fmt.Errorf("keep image %q: %w", name, err))
			}
			was.Ours = p.descriptor.Digest
			out = append(out, was)
		}
	}
	return out, nil
}

func keep(ctx context.Context, c *client.Client, lease leases.Lease, name string) (Before, error) {
	i, err := c.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return Before{Name: name}, nil
	}
	if err != nil {
		return Before{}, err
	}
	return Before{Name: name, Image: &i},
		c.LeasesService().AddResource(ctx, lease, leases.Resource{ID: i.Target.Digest.String(), Type: "content"})
}

// PutBack makes the names stand for what they did before: images that were not there go, with their content. A name that somebody
// has given to something else since, or taken away, is left alone.
func PutBack(ctx context.Context, socket string, before []Before) error {
	c, err := connect(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx = namespaces.WithNamespace(ctx, namespace)
	for _, was := range before {
		if err := putBack(ctx, c.ImageService(), was); err != nil {
			return unreachable(socket, fmt.Errorf("put image %q back: %w", was.Name, err))
		}
	}
	// That it is synchronous has the content collected before this returns.
	err = c.LeasesService().Delete(ctx, leases.Lease{ID: keptLease}, leases.SynchronousDelete)
	if err != nil && !errdefs.IsNotFound(err) {
		return unreachable(socket, err)
	}
	return nil
}

func putBack(ctx context.Context, store ctrimages.Store, was Before) error {
	now, err := store.Get(ctx, was.Name)
	switch {
	case errdefs.IsNotFound(err), err == nil && now.Target.Digest != was.Ours:
		return nil
	case err != nil:
		return err
	case was.Image != nil:
		return putImage(ctx, store, *was.Image, "target", "labels")
	}
	if err := store.Delete(ctx, was.Name, ctrimages.DeleteTarget(&now.Target)); !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}
