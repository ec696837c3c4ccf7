package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/internal/fault"
)

// metadataLimit is far above any index, manifest or configuration, and keeps a forged size from filling the memory.
const metadataLimit = 16 << 20

// readLayout finds the images that the index of an OCI layout names.
func (a *Archive) readLayout(ctx context.Context) error {
	var index v1.Index
	if err := a.readJSON(v1.ImageIndexFile, &index); err != nil {
		return a.unreadable(err)
	}
	var errs []error
	for _, d := range index.Manifests {
		name, err := nameOf(d.Annotations)
		switch {
		case err != nil:
			errs = append(errs, a.unreadable(err))
		case name != "":
			d.Annotations = nil // of the archive, not of the image
			errs = append(errs, a.add(ctx, name, d))
		}
	}
	return errors.Join(errs...)
}

// nameOf takes what containerd and docker write before what others do.
func nameOf(annotations map[string]string) (string, error) {
	name := annotations[ctrimages.AnnotationImageName]
	if name == "" {
		name = annotations[v1.AnnotationRefName]
	}
	if name == "" {
		return "", nil
	}
	return FullName(name)
}

// FullName completes a name as the kubelet does: "echo" is docker.io/library/echo:latest.
func FullName(name string) (string, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", name, err)
	}
	return named.String(), nil
}

// add wants a manifest, a configuration and all layers for this computer.
func (a *Archive) add(ctx context.Context, name string, target v1.Descriptor) error {
	i := Image{Name: name, Target: target, of: a}
	var missing []error
	collect := func(ctx context.Context, d v1.Descriptor) ([]v1.Descriptor, error) {
		if err := a.check(ctx, d); err != nil {
			missing = append(missing, a.unreadable(fmt.Errorf("image %q: %w", name, err)))
			return nil, ctrimages.ErrSkipDesc
		}
		i.Blobs = append(i.Blobs, d)
		return nil, nil
	}
	here := platforms.Default()
	children := ctrimages.LimitManifests(ctrimages.FilterPlatforms(ctrimages.ChildrenHandler(a), here), here, 1)
	err := ctrimages.Walk(ctx, ctrimages.Handlers(ctrimages.HandlerFunc(collect), children), target)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case len(missing) > 0:
		return errors.Join(missing...)
	case errdefs.IsNotFound(err): // all that is named was there
		return a.otherPlatform(name, err)
	case err != nil:
		return a.unreadable(fmt.Errorf("image %q: %w", name, err))
	}
	if err := a.checkPlatform(ctx, i); err != nil {
		return err
	}
	a.Images = append(a.Images, i)
	return nil
}

// check wants a blob to be there; what is not a layer is read.
func (a *Archive) check(ctx context.Context, d v1.Descriptor) error {
	if !ctrimages.IsLayerType(d.MediaType) {
		if d.Size > metadataLimit {
			return fmt.Errorf("blob %s: %d bytes are too many", d.Digest, d.Size)
		}
		return a.verify(ctx, d)
	}
	r, err := a.ReaderAt(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.Size() != d.Size {
		return fmt.Errorf("blob %s has %d bytes, not %d", d.Digest, r.Size(), d.Size)
	}
	return nil
}

// checkPlatform reads the platform from the configuration: of an image without an index nothing else has it. One that
// names no architecture is taken for this computer's, as containerd does.
func (a *Archive) checkPlatform(ctx context.Context, i Image) error {
	at := slices.IndexFunc(i.Blobs, func(d v1.Descriptor) bool { return ctrimages.IsManifestType(d.MediaType) })
	if at < 0 {
		return a.unreadable(fmt.Errorf("image %q: it has no manifest", i.Name))
	}
	manifest, err := ctrimages.Manifest(ctx, a, i.Blobs[at], platforms.All)
	if err != nil {
		return a.unreadable(fmt.Errorf("image %q: %w", i.Name, err))
	}
	p, err := ctrimages.ConfigPlatform(ctx, a, manifest.Config)
	if err != nil {
		return a.unreadable(fmt.Errorf("image %q: %w", i.Name, err))
	}
	if p.Architecture != "" && !platforms.Default().Match(p) {
		return a.otherPlatform(i.Name, fmt.Errorf("it is for %s", platforms.Format(p)))
	}
	return nil
}

func (a *Archive) otherPlatform(name string, err error) error {
	return fault.New("image-platform", fmt.Sprintf("take image %q of %q for %s", name, a.Path, platforms.DefaultString()), err,
		"build the image for this platform")
}

func (a *Archive) readJSON(name string, v any) error {
	data, err := a.readFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

func (a *Archive) readFile(name string) ([]byte, error) {
	r, err := a.files.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.Size() > metadataLimit {
		return nil, fmt.Errorf("read %s: %d bytes are too many", name, r.Size())
	}
	return io.ReadAll(content.NewReader(r))
}
