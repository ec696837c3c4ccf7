package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"slipway.dev/slipway/internal/fault"
)

func randomImage(t testing.TB, arch string) v1.Image {
	t.Helper()
	i, err := random.Image(1<<10, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	i, err = mutate.ConfigFile(i, config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// dockerArchive has compressed layers, as this library writes them.
func dockerArchive(t testing.TB, image v1.Image, refs ...string) []byte {
	t.Helper()
	images := map[name.Tag]v1.Image{}
	for _, ref := range refs {
		tag, err := name.NewTag(ref)
		if err != nil {
			t.Fatal(err)
		}
		images[tag] = image
	}
	var out bytes.Buffer
	if err := tarball.MultiWrite(images, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// ociLayout is a directory with these images under these names.
func ociLayout(t testing.TB, images map[string]v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for ref, image := range images {
		var options []layout.Option
		if ref != "" {
			options = append(options, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref}))
		}
		if err := path.AppendImage(image, options...); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// packed is a directory as a tar archive.
func packed(t testing.TB, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantFaults(t testing.TB, err error, ids ...string) {
	t.Helper()
	found := fault.All(err)
	if len(found) != len(ids) {
		t.Fatalf("got %d faults (%v), want %q", len(found), err, ids)
	}
	for i, f := range found {
		if f.ID != ids[i] || f.Next == "" {
			t.Errorf("got fault %q (%v), want %q", f.ID, f, ids[i])
		}
	}
}

// plainDocker is what docker before 25 writes: layers as they are, one of them a link to another image's.
func plainDocker(t testing.TB, config string, layers map[string][]byte, links map[string]string, manifest string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	put := func(h tar.Header, data []byte) {
		h.Mode, h.Size = 0o644, int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	put(tar.Header{Name: "config.json"}, []byte(config))
	for name, to := range links {
		put(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}, nil)
	}
	for name, data := range layers {
		put(tar.Header{Name: name}, data)
	}
	put(tar.Header{Name: "./manifest.json"}, []byte(manifest))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
