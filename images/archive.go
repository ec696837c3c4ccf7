package images

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

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

// namedImages gives the images that the archive's index names, each with a manifest for this computer.
func namedImages(ctx context.Context, store content.Store, index v1.Descriptor) ([]ctrimages.Image, error) {
	all, err := ctrimages.Children(ctx, store, index)
	if err != nil {
		return nil, unreadable(err)
	}
	var found []ctrimages.Image
	for _, d := range all {
		name, err := fullName(d.Annotations)
		if err != nil {
			return nil, unreadable(err)
		}
		if name == "" {
			continue
		}
		if err := checkImage(ctx, store, name, d); err != nil {
			return nil, err
		}
		found = append(found, ctrimages.Image{Name: name, Target: d})
	}
	if len(found) == 0 {
		return nil, unreadable(errors.New("no image in it has a name; tag one first"))
	}
	return found, nil
}

// checkImage wants a configuration and all layers for this computer.
func checkImage(ctx context.Context, store content.Store, name string, d v1.Descriptor) error {
	manifest, err := ctrimages.Manifest(ctx, store, d, platforms.Default())
	if err != nil {
		return fault.New("image-platform", fmt.Sprintf("import image %q", name),
			fmt.Errorf("it has nothing for %s: %w", platforms.DefaultString(), err), "build the image for this platform")
	}
	for _, blob := range append(manifest.Layers, manifest.Config) {
		if _, err := store.Info(ctx, blob.Digest); err != nil {
			return unreadable(fmt.Errorf("image %q lacks blob %s", name, blob.Digest))
		}
	}
	return nil
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

// fullName completes the name in an index as the kubelet does: "echo" is docker.io/library/echo:latest.
func fullName(annotations map[string]string) (string, error) {
	name := annotations[ctrimages.AnnotationImageName]
	if name == "" {
		name = annotations[v1.AnnotationRefName]
	}
	if name == "" {
		return "", nil
	}
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", name, err)
	}
	return named.String(), nil
}

// digestRef is the name by which an image can be asked for with its digest.
func digestRef(name, digest string) (string, bool) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", false
	}
	return reference.TrimNamed(named).String() + "@" + digest, true
}
