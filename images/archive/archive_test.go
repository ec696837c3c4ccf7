package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/opencontainers/go-digest"

	"slipway.dev/slipway/images/archive"
)

func open(t *testing.T, path string) *archive.Archive {
	t.Helper()
	scratch := filepath.Join(t.TempDir(), "scratch")
	a, err := archive.Open(t.Context(), path, scratch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if left, err := os.ReadDir(scratch); len(left) > 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
	return a
}

func names(a *archive.Archive) []string {
	var out []string
	for _, i := range a.Images {
		out = append(out, i.Name)
	}
	slices.Sort(out)
	return out
}

func TestFormats(t *testing.T) {
	here := runtime.GOARCH
	i := randomImage(t, here)
	dir := ociLayout(t, map[string]v1.Image{"example.com/b/oci:2": i})
	docker := dockerArchive(t, i, "echo:test", "example.com/a/echo:1")
	for what, c := range map[string]struct {
		path  string
		names []string
	}{
		"docker archive":       {write(t, docker), []string{"docker.io/library/echo:test", "example.com/a/echo:1"}},
		"docker archive, gzip": {write(t, zipped(t, docker)), []string{"docker.io/library/echo:test", "example.com/a/echo:1"}},
		"OCI layout":           {dir, []string{"example.com/b/oci:2"}},
		"OCI archive":          {write(t, packed(t, dir)), []string{"example.com/b/oci:2"}},
		"OCI archive, gzip":    {write(t, zipped(t, packed(t, dir))), []string{"example.com/b/oci:2"}},
		"no architecture":      {ociLayout(t, map[string]v1.Image{"short:3": randomImage(t, "")}), []string{"docker.io/library/short:3"}},
	} {
		t.Run(what, func(t *testing.T) {
			a := open(t, c.path)
			if got := names(a); !slices.Equal(got, c.names) {
				t.Errorf("got %q, want %q", got, c.names)
			}
			for _, i := range a.Images {
				if len(i.Blobs) != 4 || i.Blobs[0].Digest != i.Target.Digest { // manifest, configuration and two layers
					t.Errorf("%s consists of %v", i.Name, i.Blobs)
				}
			}
			if err := a.Verify(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPipe reads what cannot be read twice.
func TestPipe(t *testing.T) {
	data := dockerArchive(t, randomImage(t, runtime.GOARCH), "echo:test")
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(pipe, data, 0o600) }()
	if got := names(open(t, pipe)); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// TestPlatforms takes the manifest for this computer out of an index, and needs none of the others.
func TestPlatforms(t *testing.T) {
	ours, other := randomImage(t, runtime.GOARCH), randomImage(t, "s390x")
	platform := func(arch string) v1.Descriptor {
		return v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: platform("s390x")}, mutate.IndexAddendum{Add: ours, Descriptor: platform(runtime.GOARCH)})
	foreign := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: other, Descriptor: platform("s390x")})
	dir := func(i v1.ImageIndex) string {
		dir := t.TempDir()
		path, err := layout.Write(dir, empty.Index)
		if err == nil {
			err = path.AppendIndex(i, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "many:1"}))
		}
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	many := dir(index)
	missing, err := other.Digest()
	if err == nil {
		err = os.Remove(filepath.Join(many, "blobs/sha256", missing.Hex))
	}
	if err != nil {
		t.Fatal(err)
	}
	if a := open(t, many); len(a.Images) != 1 || len(a.Images[0].Blobs) != 5 {
		t.Errorf("got %+v", a.Images)
	}
	_, err = archive.Open(t.Context(), dir(foreign), t.TempDir())
	wantFaults(t, err, "image-platform")
}

// TestPlainLayers has the digests of plain layers from the configuration, and finds one that is not what that says.
func TestPlainLayers(t *testing.T) {
	one, two := []byte("layer one"), []byte("layer two")
	config := fmt.Sprintf(`{"os":"linux","architecture":%q,"rootfs":{"type":"layers","diff_ids":[%q,%q]}}`,
		runtime.GOARCH, digest.FromBytes(one), digest.FromBytes(two))
	manifest := `[{"Config":"config.json","RepoTags":["old:1"],"Layers":["a/layer.tar","b/layer.tar"]}]`
	links := map[string]string{"b/layer.tar": "../c/layer.tar"}
	a := open(t, write(t, plainDocker(t, config, map[string][]byte{"a/layer.tar": one, "c/layer.tar": two}, links, manifest)))
	if err := a.Verify(t.Context(), nil); err != nil || len(a.Images[0].Blobs) != 4 {
		t.Errorf("%v, %v", a.Images, err)
	}

	damaged := map[string][]byte{"a/layer.tar": []byte("layer 0ne"), "c/layer.tar": []byte("layer tw0")}
	a = open(t, write(t, plainDocker(t, config, damaged, links, manifest)))
	wantFaults(t, a.Verify(t.Context(), nil), "image-unreadable", "image-unreadable")
	first := digest.FromBytes(one)
	wantFaults(t, a.Verify(t.Context(), func(d digest.Digest) bool { return d == first }), "image-unreadable")

	zip := zipped(t, one)
	a = open(t, write(t, plainDocker(t, config, map[string][]byte{"a/layer.tar": zip, "c/layer.tar": zip}, links, manifest)))
	wantFaults(t, a.Verify(t.Context(), nil), "image-unreadable") // the second is the first again

	short := strings.Replace(manifest, `,"b/layer.tar"`, "", 1)
	_, err := archive.Open(t.Context(), write(t, plainDocker(t, config, damaged, links, short)), t.TempDir())
	wantFaults(t, err, "image-unreadable")
}

func TestRefused(t *testing.T) {
	here := runtime.GOARCH
	good := dockerArchive(t, randomImage(t, here), "cut:1")
	for what, c := range map[string]struct {
		path   string
		faults []string
	}{
		"nothing there":         {filepath.Join(t.TempDir(), "none"), []string{"image-unreadable"}},
		"an empty file":         {write(t, nil), []string{"image-unreadable"}},
		"no archive":            {write(t, []byte("this is not an archive")), []string{"image-unreadable"}},
		"no archive, gzip":      {write(t, zipped(t, []byte("content"))), []string{"image-unreadable"}},
		"an empty archive":      {write(t, bytes.Repeat([]byte{0}, 1024)), []string{"image-unreadable"}},
		"another archive":       {write(t, packed(t, t.TempDir()+"/..")), []string{"image-unreadable"}},
		"cut short":             {write(t, good[:2000]), []string{"image-unreadable"}},
		"cut short, gzip":       {write(t, zipped(t, good)[:500]), []string{"image-unreadable"}},
		"a directory":           {t.TempDir(), []string{"image-unreadable"}},
		"without a name":        {ociLayout(t, map[string]v1.Image{"": randomImage(t, here)}), []string{"image-unreadable"}},
		"another architecture":  {write(t, dockerArchive(t, randomImage(t, "s390x"), "other:1")), []string{"image-platform"}},
		"two of them":           {ociLayout(t, map[string]v1.Image{"a:1": randomImage(t, "s390x"), "b:1": randomImage(t, "mips")}), []string{"image-platform", "image-platform"}},
		"a name that is none":   {ociLayout(t, map[string]v1.Image{"A B": randomImage(t, here)}), []string{"image-unreadable"}},
		"every blob is missing": {withoutBlobs(t, false), []string{"image-unreadable"}},
		"both layers missing":   {withoutBlobs(t, true), []string{"image-unreadable", "image-unreadable"}},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := archive.Open(t.Context(), c.path, t.TempDir())
			wantFaults(t, err, c.faults...)
		})
	}
}

// withoutBlobs is a layout that lacks all blobs, or only its layers.
func withoutBlobs(t *testing.T, onlyLayers bool) string {
	t.Helper()
	i := randomImage(t, runtime.GOARCH)
	dir := ociLayout(t, map[string]v1.Image{"gone:1": i})
	if !onlyLayers {
		if err := os.RemoveAll(filepath.Join(dir, "blobs")); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	layers, err := i.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		d, err := l.Digest()
		if err == nil {
			err = os.Remove(filepath.Join(dir, "blobs/sha256", d.Hex))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestDamagedManifest: what is not a layer is compared with its digest at once.
func TestDamagedManifest(t *testing.T) {
	i := randomImage(t, runtime.GOARCH)
	dir := ociLayout(t, map[string]v1.Image{"bad:1": i})
	d, err := i.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "blobs/sha256", d.Hex)
	data, err := os.ReadFile(file)
	if err == nil {
		data[len(data)/2] ^= 1
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = archive.Open(t.Context(), dir, t.TempDir())
	wantFaults(t, err, "image-unreadable")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := write(t, zipped(t, dockerArchive(t, randomImage(t, runtime.GOARCH), "echo:test")))
	if _, err := archive.Open(ctx, path, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// FuzzOpen wants an error, and nothing worse, of whatever is in a file.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("text"))
	f.Add(bytes.Repeat([]byte{0}, 1024))
	f.Add(dockerArchive(f, randomImage(f, runtime.GOARCH), "echo:test"))
	f.Add(packed(f, ociLayout(f, map[string]v1.Image{"echo:test": randomImage(f, runtime.GOARCH)})))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := archive.Open(t.Context(), write(t, data), t.TempDir())
		if err == nil {
			a.Close()
		}
	})
}
