package images

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/internal/fault"
)

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
	switch {
	case errdefs.IsNotFound(err): // an archive of one platform may have an index that names more
		return otherPlatform(name, err)
	case err != nil:
		return unreadable(fmt.Errorf("image %q: %w", name, err))
	}
	for _, blob := range append(manifest.Layers, manifest.Config) {
		if _, err := store.Info(ctx, blob.Digest); err != nil {
			return unreadable(fmt.Errorf("image %q lacks blob %s", name, blob.Digest))
		}
	}
	return checkConfig(ctx, store, name, manifest.Config)
}

// checkConfig reads the platform from the configuration: of an image without an index nothing else has it. One that
// names no architecture is taken for this computer's, as containerd does.
func checkConfig(ctx context.Context, store content.Store, name string, config v1.Descriptor) error {
	p, err := ctrimages.ConfigPlatform(ctx, store, config)
	if err != nil {
		return unreadable(fmt.Errorf("image %q: %w", name, err))
	}
	if p.Architecture != "" && !platforms.Default().Match(p) {
		return otherPlatform(name, fmt.Errorf("it is for %s", platforms.Format(p)))
	}
	return nil
}

func otherPlatform(name string, err error) error {
	return fault.New("image-platform", fmt.Sprintf("import image %q for %s", name, platforms.DefaultString()), err,
		"build the image for this platform")
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
