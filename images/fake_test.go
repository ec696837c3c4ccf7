package images_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/images"
)

// fake is a small bundle of real format, for what no honest bundle has. A test changes index and calls save.
type fake struct {
	t     *testing.T
	dir   string
	index v1.Index
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, dir: t.TempDir()}
	f.index.Annotations = map[string]string{
		images.AnnotationFormat: images.Format, images.AnnotationKubernetes: "v1.2.3",
		images.AnnotationPlatform: "linux/" + runtime.GOARCH,
	}
	return f
}

// add puts a component in, and gives its only layer.
func (f *fake) add(name, kind string, entries ...tar.Header) v1.Descriptor {
	f.t.Helper()
	layer := f.blob("application/vnd.oci.image.layer.v1.tar+zstd", packed(f.t, entries))
	manifest, err := json.Marshal(v1.Manifest{Config: v1.DescriptorEmptyJSON, Layers: []v1.Descriptor{layer}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.blob("", []byte("{}")) // the configuration
	d := f.blob(v1.MediaTypeImageManifest, manifest)
	d.Annotations = map[string]string{
		images.AnnotationComponent: name, images.AnnotationKind: kind, images.AnnotationVersion: "v1",
	}
	f.index.Manifests = append(f.index.Manifests, d)
	f.save()
	return layer
}

func (f *fake) blob(mediaType string, data []byte) v1.Descriptor {
	f.t.Helper()
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	f.write(f.path(d), data)
	return d
}

func (f *fake) path(d v1.Descriptor) string {
	return filepath.Join(f.dir, "blobs", "sha256", d.Digest.Encoded())
}

func (f *fake) save() {
	f.t.Helper()
	data, err := json.Marshal(f.index)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(filepath.Join(f.dir, "index.json"), data)
}

func (f *fake) write(file string, data []byte) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// flip changes one bit in the middle of a blob.
func (f *fake) flip(d v1.Descriptor) {
	f.t.Helper()
	data, err := os.ReadFile(f.path(d))
	if err != nil {
		f.t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	f.write(f.path(d), data)
}

func (f *fake) open() *images.Bundle {
	f.t.Helper()
	b, err := images.Open(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// made is when every entry of a fake layer was made.
func made() time.Time { return time.Unix(1_000_000_000, 0) }

func file(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(name))} // its name is its content
}

func link(kind byte, name, to string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: to, Mode: 0o777}
}

func packed(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range entries {
		h.ModTime, h.Uid, h.Gid = made(), os.Getuid(), os.Getgid()
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(h.Name)[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
