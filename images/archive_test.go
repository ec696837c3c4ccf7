package images_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

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
		"docker archive":       {dockerArchive(t, "echo:test", runtime.GOARCH), "docker.io/library/echo:test"},
		"docker archive, gzip": {zipped(t, dockerArchive(t, "example.com/a/zipped:1", runtime.GOARCH)), "example.com/a/zipped:1"},
		"OCI layout, a folder": {ociArchive(t, "example.com/b/oci:2", randomImage(t, runtime.GOARCH)), "example.com/b/oci:2"},
		"OCI, no architecture": {ociArchive(t, "short:3", randomImage(t, "")), "docker.io/library/short:3"},
	}
	for what, g := range good {
		t.Run(what, func(t *testing.T) { checkLoaded(t, c, socket, g.archive, g.want) })
	}
	bad := map[string]struct {
		archive []byte
		fault   string
	}{
		"nothing":                   {nil, "image-unreadable"},
		"no archive":                {[]byte("this is not an archive"), "image-unreadable"},
		"no image in the archive":   {zipped(t, bytes.Repeat([]byte{0}, 1024)), "image-unreadable"},
		"cut short":                 {dockerArchive(t, "cut:1", runtime.GOARCH)[:2000], "image-unreadable"},
		"without a name":            {ociArchive(t, "", randomImage(t, runtime.GOARCH)), "image-unreadable"},
		"another architecture":      {dockerArchive(t, "other:1", "s390x"), "image-platform"},
		"another architecture, OCI": {ociArchive(t, "other:2", randomImage(t, "s390x")), "image-platform"},
	}
	for what, b := range bad {
		t.Run(what, func(t *testing.T) { checkRefused(t, c, socket, b.archive, b.fault) })
	}
}

// checkRefused wants the fault and no image more than before.
func checkRefused(t *testing.T, c *containerd.Client, socket string, archive []byte, id string) {
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	before, err := c.ImageService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	names, err := images.ImportArchive(t.Context(), socket, bytes.NewReader(archive))
	wantStoreFault(t, err, id)
	if len(names) > 0 {
		t.Errorf("got %q", names)
	}
	if after, err := c.ImageService().List(ctx); err != nil || len(after) != len(before) {
		t.Errorf("%d images, then %v, %v", len(before), after, err)
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
	plain := dockerArchive(t, "echo:test", runtime.GOARCH)
	for name, content := range map[string][]byte{"image.tar": plain, "image.tgz": zipped(t, plain)} {
		r, err := images.ArchiveOf(write(t, dir, name, content))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(content), err)
		}
		r.Close()
	}
	for _, path := range []string{
		filepath.Join(dir, "none"), dir, // dir is no OCI layout
		write(t, dir, "empty", nil), write(t, dir, "text", []byte("content")), write(t, dir, "text.gz", zipped(t, []byte("content"))),
	} {
		_, err := images.ArchiveOf(path)
		wantStoreFault(t, err, "image-unreadable")
	}
}

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
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
