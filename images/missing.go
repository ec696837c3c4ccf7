package images

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

// Missing gives the references of those images, of all if names is empty, that Import would still have to put into
// the containerd behind socket. An image gets its name last, so one that has its name is complete.
func (b *Bundle) Missing(ctx context.Context, socket string, names []string) ([]string, error) {
	parts, c, err := b.choose(socket, names)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx = namespaces.WithNamespace(ctx, namespace)
	var out []string
	for _, p := range parts {
		i, err := c.ImageService().Get(ctx, p.Ref)
		switch {
		case errdefs.IsNotFound(err), err == nil && i.Target.Digest != p.descriptor.Digest:
			out = append(out, p.Ref)
		case err != nil:
			return nil, unreachable(socket, fmt.Errorf("ask for image %q: %w", p.Ref, err))
		}
	}
	return out, nil
}
