package images_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/archive"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/testenv"
)

// imageOf is one for this computer, with these layers.
func imageOf(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	i, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	if i, err = mutate.ConfigFile(i, config); err != nil {
		t.Fatal(err)
	}
	return i
}

func randomLayer(t *testing.T) v1.Layer {
	t.Helper()
	l, err := random.Layer(1<<10, "application/vnd.docker.image.rootfs.diff.tar.gzip")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// saved is the image as `docker save` gives it, opened.
func saved(t *testing.T, ref string, image v1.Image) *archive.Archive {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		t.Fatal(err)
	}
	return opened(t, file)
}

func opened(t *testing.T, file string) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), file, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func nodeStore(t *testing.T, socket string) *images.NodeStore {
	t.Helper()
	s, err := images.OpenNodeStore(socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// wantSent loads an image and wants so many blobs of all to be sent for it.
func wantSent(t *testing.T, s *images.NodeStore, a *archive.Archive, sent, all int) {
	t.Helper()
	lacking, err := s.Lacking(t.Context(), a.Images)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(t.Context(), a.Images, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Sent != sent || got.Blobs != all || len(lacking) != sent || (got.Bytes > 0) != (sent > 0) {
		t.Errorf("%s: %+v were sent and %d lacking, want %d of %d", a.Images[0].Name, got, len(lacking), sent, all)
	}
}

func listed(t *testing.T, s *images.NodeStore) map[string]images.Stored {
	t.Helper()
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]images.Stored{}
	for _, i := range list {
		out[i.Name] = i
	}
	return out
}

// TestNodeStore loads, lists, saves and removes images in a real containerd.
func TestNodeStore(t *testing.T) {
	u := &images.Unpacked{Files: t.TempDir()}
	if err := testenv.NeedBundle(t).Extract("containerd", u.Files); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(runDir(t), "s")
	c := startContainerdAt(t, u, t.TempDir(), socket)
	nothing := inStore(t, c)
	s := nodeStore(t, socket)
	base, own, other := randomLayer(t), randomLayer(t), randomLayer(t)
	first, second := saved(t, "app:1", imageOf(t, base, own)), saved(t, "app:2", imageOf(t, base, other))

	t.Run("damaged", func(t *testing.T) { refusesDamaged(t, s, first.Path) })
	collect(t, c)
	wantStored(t, c, nothing)
	wantSent(t, s, first, 4, 4)
	wantSent(t, s, first, 0, 4)
	wantSent(t, s, second, 3, 4)
	wantSent(t, s, saved(t, "app:3", imageOf(t, base, own)), 0, 4)
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	for _, name := range []string{"docker.io/library/app:1", "docker.io/library/app:2", "docker.io/library/app:3"} {
		i, err := c.GetImage(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := i.IsUnpacked(ctx, "overlayfs"); err != nil || !ok || i.Labels()["io.cri-containerd.image"] != "managed" {
			t.Errorf("%s: unpacked: %v, %v; labels %v", name, ok, err, i.Labels())
		}
	}

	keepsPinned(t, c, s, first, saved(t, "app:1", imageOf(t, other)))
	list := listed(t, s)
	if one, three := list["docker.io/library/app:1"], list["docker.io/library/app:3"]; len(list) != 3 || one.ID == "" || one.ID != three.ID || one.Size == 0 || one.Pinned {
		t.Errorf("listed: %+v", list)
	}
	out := filepath.Join(t.TempDir(), "saved.tar")
	saveTo(t, s, out, list["docker.io/library/app:1"], list["docker.io/library/app:2"])

	removed := func(ref string, left ...string) {
		t.Helper()
		all := listed(t, s)
		for _, i := range all {
			if i.Is(ref) {
				if err := s.Remove(t.Context(), i, ref); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := listed(t, s); len(got) != len(left) || slices.ContainsFunc(left, func(n string) bool { return got[n].Name == "" }) {
			t.Errorf("after %s went, left are %v, want %q", ref, got, left)
		}
	}
	removed("app:1", "docker.io/library/app:2", "docker.io/library/app:3")
	removed("app:2", "docker.io/library/app:3")
	removed(list["docker.io/library/app:3"].ID)
	wantStored(t, c, nothing) // with the last image, all blobs and layers are gone

	again := opened(t, out)
	dockerReads(t, out, "app:2")
	wantSent(t, s, again, 7, 7)
	if got := listed(t, s); got["docker.io/library/app:1"].Digest != list["docker.io/library/app:1"].Digest {
		t.Errorf("saved and loaded: %v, before: %v", got, list)
	}
}

// keepsPinned loads an image that is part of the cluster, and another one of its name.
func keepsPinned(t *testing.T, c *containerd.Client, s *images.NodeStore, a, another *archive.Archive) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	name := a.Images[0].Name
	mark := func(pinned string) {
		i, err := c.ImageService().Get(ctx, name)
		if err == nil {
			i.Labels["io.cri-containerd.pinned"] = pinned
			_, err = c.ImageService().Update(ctx, i, "labels")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mark("pinned")
	wantSent(t, s, a, 0, 4)
	if !listed(t, s)[name].Pinned {
		t.Errorf("%s is no longer pinned", name)
	}
	_, err := s.Load(t.Context(), another.Images, nil)
	var f *fault.Error
	if !errors.As(err, &f) || f.ID != "image-in-use" {
		t.Errorf("another one of its name: %v", err)
	}
	mark("")
}

// dockerReads reads an image as `docker load` does, by the list that it writes itself.
func dockerReads(t *testing.T, file, ref string) {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(file, &tag)
	if err == nil {
		err = validate.Image(image)
	}
	if err != nil {
		t.Errorf("read %s with docker's list: %v", ref, err)
	}
}

// TestNodeStoreIndex loads an image for several platforms, of which the archive has only this computer's, and saves it.
func TestNodeStoreIndex(t *testing.T) {
	u := &images.Unpacked{Files: t.TempDir()}
	if err := testenv.NeedBundle(t).Extract("containerd", u.Files); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(runDir(t), "s")
	startContainerdAt(t, u, t.TempDir(), socket)
	s := nodeStore(t, socket)
	a := opened(t, indexLayout(t))
	wantSent(t, s, a, 5, 5)
	stored := listed(t, s)["docker.io/library/many:1"]
	if stored.Digest != a.Images[0].Target.Digest || stored.ID == "" {
		t.Errorf("got %+v", stored)
	}
	out := filepath.Join(t.TempDir(), "saved.tar")
	saveTo(t, s, out, stored)
	if again := opened(t, out); again.Images[0].Target.Digest != stored.Digest || len(again.Images[0].Blobs) != 5 {
		t.Errorf("saved %+v", again.Images)
	}
	dockerReads(t, out, "many:1")
}

func indexLayout(t *testing.T) string {
	t.Helper()
	foreign := imageOf(t, randomLayer(t))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: foreign, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: imageOf(t, randomLayer(t), randomLayer(t)),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "many:1"}))
	}
	missing, derr := foreign.Digest()
	if err = errors.Join(err, derr); err == nil {
		err = os.Remove(filepath.Join(dir, "blobs/sha256", missing.Hex))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// wantStored compares all that a containerd has with what it had.
func wantStored(t *testing.T, c *containerd.Client, before []string) {
	t.Helper()
	if now := inStore(t, c); !slices.Equal(now, before) {
		t.Errorf("stored is\n%s\nwant\n%s", strings.Join(now, "\n"), strings.Join(before, "\n"))
	}
}

func saveTo(t *testing.T, s *images.NodeStore, file string, list ...images.Stored) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(images.Save(t.Context(), f, []*images.NodeStore{s}, list), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// refusesDamaged changes a layer after the archive was opened, as nobody has compared that yet.
func refusesDamaged(t *testing.T, s *images.NodeStore, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.tar")
	if err := os.WriteFile(damaged, data, 0o600); err != nil {
		t.Fatal(err)
	}
	a := opened(t, damaged)
	if err := os.WriteFile(damaged, flipLayer(t, data), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what the first leaves behind does not matter to the second
		_, err := s.Load(t.Context(), a.Images, nil)
		wantStoreFault(t, err, "image-import-failed")
	}
}

// flipLayer changes one bit in each layer of an archive.
func flipLayer(t *testing.T, data []byte) []byte {
	t.Helper()
	data = bytes.Clone(data)
	in := bytes.NewReader(data)
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if err == io.EOF {
			return data
		}
		if err != nil {
			t.Fatal(err)
		}
		if at := len(data) - in.Len(); strings.HasSuffix(h.Name, ".tar.gz") {
			data[at+int(h.Size)/2] ^= 1
		}
	}
}

// TestNodeStoreGone asks where nobody listens.
func TestNodeStoreGone(t *testing.T) {
	s := nodeStore(t, filepath.Join(runDir(t), "none"))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.List(ctx)
	wantStoreFault(t, err, "containerd-unreachable")
	cancel()
	if _, err := s.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func wantStoreFault(t *testing.T, err error, id string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want fault %q", err, id)
	}
	if f.ID != id || f.Next == "" {
		t.Errorf("got fault %q (%v), want %q", f.ID, f, id)
	}
}
