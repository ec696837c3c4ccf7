package images

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/internal/fault"
)

// Bundle is an opened bundle: its index and manifests have been read and checked, its layers not yet.
type Bundle struct {
	dir    string
	digest digest.Digest
	index  ocispec.Index
	parts  []part
}

// Component is one component of a bundle.
type Component struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
	Ref     string `json:"ref,omitempty"` // images: the name that pods use
	Digest  string `json:"digest"`        // of its manifest
	Size    int64  `json:"size"`          // bytes of all its blobs
}

// part is a component with its manifest.
type part struct {
	Component
	descriptor ocispec.Descriptor
	manifest   ocispec.Manifest
}

// Open reads the bundle in dir. It is cheap: layers are checked when they are used, or by Verify. The faults are
// bundle-missing, bundle-corrupt and bundle-architecture.
func Open(dir string) (*Bundle, error) {
	data, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("bundle-missing", fmt.Sprintf("open bundle %q", dir), errors.New("there is none"),
			"build it with `slipway images build`")
	}
	if err != nil {
		return nil, fmt.Errorf("open bundle %q: %w", dir, err)
	}
	b := &Bundle{dir: dir, digest: digest.NewDigestFromBytes(digest.SHA256, sum(data))}
	if err := json.Unmarshal(data, &b.index); err != nil {
		return nil, b.corrupt(fmt.Errorf("its index: %w", err))
	}
	if v := b.index.Annotations[AnnotationFormat]; v != FormatVersion {
		return nil, b.corrupt(fmt.Errorf("its format is %q, this program knows %q", v, FormatVersion))
	}
	if p := b.index.Annotations[AnnotationPlatform]; p != "linux/"+runtime.GOARCH {
		return nil, fault.New("bundle-architecture", fmt.Sprintf("open bundle %q", dir),
			fmt.Errorf("it is for %q, this computer is linux/%s", p, runtime.GOARCH), "build or fetch one for this architecture")
	}
	for _, d := range b.index.Manifests {
		p, err := b.part(d)
		if err != nil {
			return nil, b.corrupt(err)
		}
		b.parts = append(b.parts, p)
	}
	slices.SortFunc(b.parts, func(x, y part) int {
		return strings.Compare(x.Kind+x.Name, y.Kind+y.Name)
	})
	return b, nil
}

func sum(data []byte) []byte {
	s := sha256.Sum256(data)
	return s[:]
}

func (b *Bundle) part(d ocispec.Descriptor) (part, error) {
	p := part{descriptor: d}
	p.Name, p.Kind = d.Annotations[AnnotationComponent], d.Annotations[AnnotationKind]
	p.Version, p.Ref = d.Annotations[AnnotationVersion], d.Annotations[ocispec.AnnotationRefName]
	p.Digest = d.Digest.String()
	if p.Name == "" || p.Kind == "" {
		return p, fmt.Errorf("the index names no component for %s", d.Digest)
	}
	data, err := b.read(d)
	if err != nil {
		return p, fmt.Errorf("component %q: %w", p.Name, err)
	}
	if err := json.Unmarshal(data, &p.manifest); err != nil {
		return p, fmt.Errorf("component %q: its manifest: %w", p.Name, err)
	}
	for _, blob := range p.blobs() {
		p.Size += blob.Size
	}
	return p, nil
}

func (p part) blobs() []ocispec.Descriptor {
	return append([]ocispec.Descriptor{p.descriptor, p.manifest.Config}, p.manifest.Layers...)
}

// read gives a small blob, checked.
func (b *Bundle) read(d ocispec.Descriptor) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	data, err := os.ReadFile(b.blob(d.Digest))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d.Digest, err)
	}
	if got := d.Digest.Algorithm().FromBytes(data); got != d.Digest || int64(len(data)) != d.Size {
		return nil, fmt.Errorf("blob %s: its bytes have the digest %s", d.Digest, got)
	}
	return data, nil
}

func (b *Bundle) blob(d digest.Digest) string {
	return filepath.Join(b.dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

func (b *Bundle) corrupt(err error) error {
	return fault.New("bundle-corrupt", fmt.Sprintf("use bundle %q", b.dir), err,
		"build it again with `slipway images build`, which mends what is damaged")
}

// Dir is the bundle's directory, Digest that of its index, which stands for all its bytes.
func (b *Bundle) Dir() string    { return b.dir }
func (b *Bundle) Digest() string { return b.digest.String() }

// KubernetesVersion is the version that the bundle installs, with the leading v.
func (b *Bundle) KubernetesVersion() string { return b.index.Annotations[AnnotationKubernetes] }

// Components gives all components, by kind and name.
func (b *Bundle) Components() []Component {
	out := make([]Component, 0, len(b.parts))
	for _, p := range b.parts {
		out = append(out, p.Component)
	}
	return out
}

// Component gives one component. The fault is bundle-corrupt.
func (b *Bundle) Component(name string) (Component, error) {
	p, err := b.find(name)
	return p.Component, err
}

// Images gives the reference of every image by its component.
func (b *Bundle) Images() map[string]string {
	out := map[string]string{}
	for _, p := range b.parts {
		if p.Kind == KindImage {
			out[p.Name] = p.Ref
		}
	}
	return out
}

func (b *Bundle) find(name string) (part, error) {
	for _, p := range b.parts {
		if p.Name == name {
			return p, nil
		}
	}
	return part{}, b.corrupt(fmt.Errorf("it has no component %q", name))
}

func (b *Bundle) ofKind(kind string) []part {
	var out []part
	for _, p := range b.parts {
		if p.Kind == kind {
			out = append(out, p)
		}
	}
	return out
}
