package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// blobs is the blobs/sha256 folder of a layout.
type blobs string

func (b blobs) path(d digest.Digest) string { return filepath.Join(string(b), d.Encoded()) }

// json stores v; maps are written sorted, so equal values give equal digests.
func (b blobs) json(v any, mediaType string) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if err := os.MkdirAll(string(b), 0o755); err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return d, os.WriteFile(b.path(d.Digest), data, 0o644)
}

// layer is a stored layer: its descriptor and the digest of the uncompressed tar.
type layer struct {
	Descriptor v1.Descriptor `json:"descriptor"`
	DiffID     digest.Digest `json:"diffID"`
}

// layer stores a tree as a compressed layer.
func (b blobs) layer(t tree) (layer, error) {
	if err := os.MkdirAll(string(b), 0o755); err != nil {
		return layer{}, err
	}
	f, err := os.CreateTemp(string(b), ".layer-*")
	if err != nil {
		return layer{}, err
	}
	defer os.Remove(f.Name())
	l, err := compress(f, t)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return layer{}, err
	}
	return l, os.Rename(f.Name(), b.path(l.Descriptor.Digest))
}

func compress(f io.Writer, t tree) (layer, error) {
	packed, plain := digest.Canonical.Digester(), digest.Canonical.Digester()
	size := &counter{}
	// One thread: with more, the frame's blocks depend on timing.
	z, err := zstd.NewWriter(io.MultiWriter(f, packed.Hash(), size), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return layer{}, err
	}
	if err := errors.Join(t.write(io.MultiWriter(z, plain.Hash())), z.Close()); err != nil {
		return layer{}, err
	}
	return layer{
		Descriptor: v1.Descriptor{MediaType: v1.MediaTypeImageLayerZstd, Digest: packed.Digest(), Size: size.n},
		DiffID:     plain.Digest(),
	}, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// artifact stores a manifest that is not an image: one layer under a type of our own.
func (b blobs) artifact(kind string, l layer) (v1.Descriptor, error) {
	config, err := b.empty()
	if err != nil {
		return v1.Descriptor{}, err
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		ArtifactType: kind, Config: config, Layers: []v1.Descriptor{l.Descriptor},
	}
	d, err := b.json(m, v1.MediaTypeImageManifest)
	d.ArtifactType = kind
	return d, err
}

func (b blobs) empty() (v1.Descriptor, error) {
	d := v1.DescriptorEmptyJSON
	d.Data = nil
	return d, os.WriteFile(b.path(d.Digest), bytes.Clone(v1.DescriptorEmptyJSON.Data), 0o644)
}

// image stores a container image's configuration and manifest over the layers.
func (b blobs) image(config v1.Image, layers []layer) (v1.Descriptor, error) {
	config.RootFS = v1.RootFS{Type: "layers"}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, l.Descriptor)
	}
	var err error
	if m.Config, err = b.json(config, v1.MediaTypeImageConfig); err != nil {
		return v1.Descriptor{}, err
	}
	return b.json(m, v1.MediaTypeImageManifest)
}
