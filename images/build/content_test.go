package build_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"slipway.dev/slipway/images/build"
	"slipway.dev/slipway/images/pins"
)

// differs builds the same component of two minors: what they are pinned to must show.
func differs(t *testing.T, cache string) {
	t.Helper()
	var indexes [2][]byte
	for i, version := range []string{"1.36", "1.37"} {
		dir := t.TempDir()
		err := build.Build(t.Context(), build.Options{
			Version: version, Output: dir, CacheDir: cache, Components: []string{"coredns-manifests"},
		})
		if err != nil {
			t.Fatal(err)
		}
		indexes[i] = read(t, dir, "index.json")
	}
	if bytes.Equal(indexes[0], indexes[1]) {
		t.Error("two Kubernetes minors have the same index")
	}
}

// stamped runs a program out of the bundle: it must say the version that it is pinned to.
func stamped(t *testing.T, bundle string) {
	t.Helper()
	s, err := pins.For("")
	if err != nil {
		t.Fatal(err)
	}
	c, _ := s.Component("cni-plugins")
	program := filepath.Join(t.TempDir(), "bridge")
	if err := os.WriteFile(program, find(t, bundle, "opt/cni/bin/bridge"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), c.Version) {
		t.Errorf("bridge says %q, %v; want %s", out, err, c.Version)
	}
}

// find gives the content of a file that lies in one of the bundle's layers.
func find(t *testing.T, bundle, name string) []byte {
	t.Helper()
	for blob := range names(t, bundle) {
		if content := inLayer(read(t, bundle, "blobs/sha256", blob), name); content != nil {
			return content
		}
	}
	t.Fatalf("%s is in no layer", name)
	return nil
}

// inLayer gives nothing when the blob is no layer or has no such file.
func inLayer(blob []byte, name string) []byte {
	z, err := zstd.NewReader(bytes.NewReader(blob))
	if err != nil {
		return nil
	}
	defer z.Close()
	in := tar.NewReader(z)
	for {
		h, err := in.Next()
		if err != nil {
			return nil
		}
		if h.Name == name {
			content, _ := io.ReadAll(in)
			return content
		}
	}
}
