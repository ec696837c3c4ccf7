package images

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/client"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"slipway.dev/slipway/internal/fault"
)

// ImportArchive puts a user's images, as a docker-archive or OCI archive that may be compressed, into the containerd
// behind socket, unpacked, and gives their full names. No image is named before all of it is there.
func ImportArchive(ctx context.Context, socket string, r io.Reader) ([]string, error) {
	plain, err := compression.DecompressStream(r)
	if err != nil {
		return nil, unreadable(err)
	}
	defer plain.Close()
	c, err := connect(socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, release, err := c.WithLease(namespaces.WithNamespace(ctx, namespace))
	if err != nil {
		return nil, unreachable(socket, err)
	}
	defer release(context.WithoutCancel(ctx)) //nolint:errcheck // containerd drops a lease by itself a day later
	index, err := archive.ImportIndex(ctx, c.ContentStore(), plain)
	if err != nil {
		return nil, archiveFailed(ctx, socket, err)
	}
	found, err := namedImages(ctx, c.ContentStore(), index)
	if err != nil {
		return nil, err
	}
	return adoptAll(ctx, c, found)
}

// archiveFailed keeps a bad archive apart from a containerd that went away.
func archiveFailed(ctx context.Context, socket string, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errdefs.IsUnavailable(err):
		return unreachable(socket, err)
	}
	return unreadable(err)
}

func unreadable(err error) error {
	return fault.New("image-unreadable", "read the image archive", err,
		"give a file made by `docker save NAME:TAG` or an OCI layout")
}

func adoptAll(ctx context.Context, c *client.Client, found []ctrimages.Image) ([]string, error) {
	names := make([]string, 0, len(found))
	for _, img := range found {
		if err := adopt(ctx, c, img.Name, img.Target, map[string]string{labelManaged: "managed"}); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			return nil, fault.New("image-import-failed", fmt.Sprintf("import image %q", img.Name), err,
				"look at containerd's log and the free disk space, then run the command again")
		}
		names = append(names, img.Name)
	}
	return names, nil
}
