package images_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
)

func checkArchives(t *testing.T, u *images.Unpacked) {
	socket := filepath.Join(runDir(t), "s")
	c := startContainerdAt(t, u, t.TempDir(), socket)
	good := map[string]struct {
		archive []byte
		want    string
	}{
		"docker archive":         {dockerArchive(t, "echo:test", runtime.GOARCH), "docker.io/library/echo:test"},
		"docker archive, gzip":   {zipped(t, dockerArchive(t, "example.com/a/zipped:1", runtime.GOARCH)), "example.com/a/zipped:1"},
		"OCI layout, a folder":   {ociArchive(t, "example.com/b/oci:2"), "example.com/b/oci:2"},
		"OCI layout, short name": {ociArchive(t, "short:3"), "docker.io/library/short:3"},
	}
	for what, g := range good {
		t.Run(what, func(t *testing.T) { checkLoaded(t, c, socket, g.archive, g.want) })
	}
	bad := map[string][]byte{
		"nothing":                 nil,
		"no archive":              []byte("this is not an archive"),
		"no image in the archive": zipped(t, bytes.Repeat([]byte{0}, 1024)),
		"cut short":               dockerArchive(t, "cut:1", runtime.GOARCH)[:2000],
		"another architecture":    dockerArchive(t, "other:1", "s390x"),
		"without a name":          ociArchive(t, ""),
	}
	for what, archive := range bad {
		t.Run(what, func(t *testing.T) {
			names, err := images.ImportArchive(t.Context(), socket, bytes.NewReader(archive))
			wantStoreFault(t, err, "image-unreadable")
			if len(names) > 0 {
				t.Errorf("got %q", names)
			}
		})
	}
}

func checkLoaded(t *testing.T, c *containerd.Client, socket string, archive []byte, want string) {
	for range 2 { // again changes nothing
		names, err := images.ImportArchive(t.Context(), socket, bytes.NewReader(archive))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(names, []string{want}) {
			t.Errorf("names %q, want %q", names, want)
		}
	}
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	i, err := c.GetImage(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := i.IsUnpacked(ctx, "overlayfs"); err != nil || !ok {
		t.Errorf("unpacked: %v, %v", ok, err)
	}
	config, err := i.Config(ctx)
	if err != nil {
		t.Fatal(err)
	}
	byID, err := c.GetImage(ctx, config.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if byID.Labels()["io.cri-containerd.image"] != "managed" {
		t.Errorf("labels %v", byID.Labels())
	}
}

func TestArchiveOf(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "image.tar")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := images.ArchiveOf(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), dir} { // dir is no OCI layout
		_, err := images.ArchiveOf(path)
		wantStoreFault(t, err, "image-unreadable")
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

func randomImage(t *testing.T, arch string) v1.Image {
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

func dockerArchive(t *testing.T, ref, arch string) []byte {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tarball.Write(tag, randomImage(t, arch), &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// ociArchive packs a layout through ArchiveOf.
func ociArchive(t *testing.T, ref string) []byte {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	var options []layout.Option
	if ref != "" {
		options = append(options, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref}))
	}
	if err := path.AppendImage(randomImage(t, runtime.GOARCH), options...); err != nil {
		t.Fatal(err)
	}
	r, err := images.ArchiveOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func zipped(t *testing.T, data []byte) []byte {
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
