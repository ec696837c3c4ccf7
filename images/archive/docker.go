package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// dockerIndex is the file that lists the images of what `docker save` writes.
const dockerIndex = "manifest.json"

// dockerImage is one of them: https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// readDocker makes a manifest for each image, as such an archive has none.
func (a *Archive) readDocker(ctx context.Context) error {
	var list []dockerImage
	err := a.readJSON(dockerIndex, &list)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("it has neither %s nor %s, as image archives do", v1.ImageIndexFile, dockerIndex)
	}
	if err != nil {
		return a.unreadable(err)
	}
	var errs []error
	for _, image := range list {
		errs = append(errs, a.addDocker(ctx, image))
	}
	return errors.Join(errs...)
}

func (a *Archive) addDocker(ctx context.Context, image dockerImage) error {
	target, err := a.dockerManifest(ctx, image)
	if err != nil {
		return a.unreadable(fmt.Errorf("image %q: %w", image.RepoTags, err))
	}
	var errs []error
	for _, tag := range image.RepoTags {
		name, err := FullName(tag)
		if err != nil {
			errs = append(errs, a.unreadable(err))
			continue
		}
		errs = append(errs, a.add(ctx, name, target))
	}
	return errors.Join(errs...)
}

func (a *Archive) dockerManifest(ctx context.Context, image dockerImage) (v1.Descriptor, error) {
	text, err := a.readFile(image.Config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var config v1.Image
	if err := json.Unmarshal(text, &config); err != nil {
		return v1.Descriptor{}, fmt.Errorf("read %s: %w", image.Config, err)
	}
	if len(config.RootFS.DiffIDs) != len(image.Layers) {
		return v1.Descriptor{}, fmt.Errorf("it has %d layers, its configuration %d", len(image.Layers), len(config.RootFS.DiffIDs))
	}
	manifest := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{},
		Config: a.make(v1.MediaTypeImageConfig, text),
	}
	for i, file := range image.Layers {
		layer, err := a.dockerLayer(ctx, file, config.RootFS.DiffIDs[i])
		if err != nil {
			return v1.Descriptor{}, err
		}
		manifest.Layers = append(manifest.Layers, layer)
	}
	text, err = json.Marshal(manifest)
	return a.make(v1.MediaTypeImageManifest, text), err
}

// make adds a blob that is not in the archive as such.
func (a *Archive) make(mediaType string, data []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	a.made[d.Digest] = blob{data: data}
	return d
}

// dockerLayer finds out the digest of a layer. The configuration has that of a plain one, which need not be read.
func (a *Archive) dockerLayer(ctx context.Context, file string, plain digest.Digest) (d v1.Descriptor, err error) {
	r, err := a.files.open(file)
	if err != nil {
		return d, err
	}
	defer r.Close()
	d.Size, d.Digest, d.MediaType = r.Size(), plain, v1.MediaTypeImageLayer
	switch kind := compressionOf(r); kind {
	case compression.Uncompressed:
	case compression.Gzip:
		d.MediaType = v1.MediaTypeImageLayerGzip
	case compression.Zstd:
		d.MediaType = v1.MediaTypeImageLayerZstd
	default:
		err = fmt.Errorf("layer %s is compressed in a way that is not known", file)
	}
	b := blob{file: file}
	if err == nil && d.MediaType != v1.MediaTypeImageLayer {
		hash := digest.Canonical.Digester()
		_, err = io.Copy(hash.Hash(), cancelled{ctx, content.NewReader(r)})
		d.Digest, b.plain = hash.Digest(), plain
	}
	a.made[d.Digest] = b
	return d, errors.Join(err, plain.Validate())
}
