package images

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/internal/fault"
)

// Component is one thing in a bundle.
type Component struct {
	Name    string `json:"component"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
	Ref     string `json:"ref,omitempty"` // of an image: the name that pods use
	Digest  string `json:"digest"`        // of its manifest
	Size    int64  `json:"size"`          // of its blobs, compressed
}

// part is a component with what was read of it.
type part struct {
	Component
	descriptor v1.Descriptor
	manifest   v1.Manifest
}

// Bundle is an opened bundle. Its index and manifests have been read and checked.
type Bundle struct {
	dir, digest, kubernetes string
	parts                   []part
}

// Open reads the index and the manifests of the bundle in dir; all that is wrong with them is reported at once.
func Open(dir string) (*Bundle, error) {
	index, digest, err := readIndex(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New("bundle-missing", fmt.Sprintf("open bundle %q", dir), errors.New("there is none"),
			"build one with `slipway images build`; one in a registry is written oci://HOST/NAME:TAG")
	case err != nil:
		return nil, corrupt(dir, fmt.Sprintf("open bundle %q", dir), err)
	}
	if err := checkPlatform(dir, index.Annotations[AnnotationPlatform]); err != nil {
		return nil, err
	}
	b := &Bundle{dir: dir, digest: digest, kubernetes: index.Annotations[AnnotationKubernetes]}
	var problems []error
	for _, d := range index.Manifests {
		p, err := b.readPart(d)
		if err != nil {
			problems = append(problems, err)
		}
		b.parts = append(b.parts, p)
	}
	slices.SortFunc(b.parts, func(a, b part) int { return cmp.Compare(a.Name, b.Name) })
	if err := errors.Join(append(problems, b.checkNames())...); err != nil {
		return nil, err
	}
	return b, nil
}

func checkPlatform(dir, platform string) error {
	if host := "linux/" + runtime.GOARCH; platform != host {
		return fault.New("bundle-architecture", fmt.Sprintf("open bundle %q", dir),
			fmt.Errorf("it is for %q, this computer is %q", platform, host), "use a bundle for this computer's architecture")
	}
	return nil
}

// checkNames finds components that share a name: each name must mean one thing.
func (b *Bundle) checkNames() error {
	for i := 1; i < len(b.parts); i++ {
		if b.parts[i].Name == b.parts[i-1].Name {
			return corrupt(b.dir, fmt.Sprintf("open bundle %q", b.dir), fmt.Errorf("component %q is in it twice", b.parts[i].Name))
		}
	}
	return nil
}

// Dir is where the bundle lies.
func (b *Bundle) Dir() string { return b.dir }

// Digest is that of the index, and so of all that is in the bundle.
func (b *Bundle) Digest() string { return b.digest }

// KubernetesVersion is for example "v1.37.1".
func (b *Bundle) KubernetesVersion() string { return b.kubernetes }

// Components lists what is in the bundle, sorted by name.
func (b *Bundle) Components() []Component {
	out := make([]Component, len(b.parts))
	for i, p := range b.parts {
		out[i] = p.Component
	}
	return out
}

// Component finds a component by its name.
func (b *Bundle) Component(name string) (Component, error) {
	p, err := b.part(name)
	return p.Component, err
}

func (b *Bundle) part(name string) (part, error) {
	for _, p := range b.parts {
		if p.Name == name {
			return p, nil
		}
	}
	return part{}, fault.New("unknown-component", fmt.Sprintf("find component %q in bundle %q", name, b.dir),
		fmt.Errorf("it has %v", b.names("")), "name one of these")
}

// partOf is part with a check of the kind.
func (b *Bundle) partOf(name string, kinds ...string) (part, error) {
	p, err := b.part(name)
	if err == nil && !slices.Contains(kinds, p.Kind) {
		return p, fmt.Errorf("component %q is of kind %q, not one of %q", name, p.Kind, kinds)
	}
	return p, err
}

// names gives the components of one kind, or all.
func (b *Bundle) names(kind string) []string {
	var out []string
	for _, p := range b.parts {
		if kind == "" || p.Kind == kind {
			out = append(out, p.Name)
		}
	}
	return out
}

// Blobs gives the descriptors of all that the wanted components consist of, and of the manifests of the others, each once.
func (b *Bundle) Blobs(want func(Component) bool) []v1.Descriptor {
	var out []v1.Descriptor
	seen := map[digest.Digest]bool{}
	for _, p := range b.parts {
		blobs := p.blobs()
		if !want(p.Component) {
			blobs = blobs[:1]
		}
		for _, d := range blobs {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				out = append(out, d)
			}
		}
	}
	return out
}

// ForNodes names the components of kind files that belong on every node. kubeadm does not: no step runs it. It is in the bundle for
// administrators who use it beside Slipway, and need it in the cluster's very version, and for tests that do the same.
func (b *Bundle) ForNodes() []string {
	return slices.DeleteFunc(b.names(KindFiles), func(name string) bool { return name == "kubeadm" })
}

// size is that of the components of these kinds, compressed.
func (b *Bundle) size(kinds ...string) (total int64) {
	for _, p := range b.parts {
		if slices.Contains(kinds, p.Kind) {
			total += p.Size
		}
	}
	return total
}

func (b *Bundle) blob(d v1.Descriptor) string {
	return filepath.Join(b.dir, v1.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded())
}

// corrupt has other advice for what the package registry has pulled, which it names by its digest.
func corrupt(dir, op string, err error) error {
	next := "build the bundle again with `slipway images build`, or copy it again"
	if strings.HasPrefix(filepath.Base(dir), "sha256-") {
		next = fmt.Sprintf("pull the bundle again with `slipway images pull REF --output %s`, or remove that directory", dir)
	}
	return fault.New("bundle-corrupt", op, err, next)
}
