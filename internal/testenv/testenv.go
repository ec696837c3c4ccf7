// Package testenv gives tests what they need of this computer: a bundle that has been built, and the rule for what
// to do where something is missing.
package testenv

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Lacks ends a test that cannot run here, and says why; where all tests must run (SLIPWAY_E2E=required), it fails.
func Lacks(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("SLIPWAY_E2E") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Bundle is the directory of a bundle. It is read here as the plain OCI layout that it is, so that packages which
// know nothing of bundles can be tested with what is in one.
type Bundle string

// FindBundle gives the built bundle of the newest version, unless another one was chosen for this run.
func FindBundle() (Bundle, error) {
	if chosen := os.Getenv("SLIPWAY_TEST_BUNDLE"); chosen != "" {
		return Bundle(chosen), nil
	}
	pattern := filepath.Join(cmp.Or(os.Getenv("SLIPWAY_CACHE"), "/var/cache/slipway"), "bundles", "v*-"+runtime.GOARCH)
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("there is no bundle at %q: build one with `make bundle`", pattern)
	}
	return Bundle(found[len(found)-1]), nil
}

// NeedBundle is FindBundle for a test that cannot run without one.
func NeedBundle(t testing.TB) Bundle {
	t.Helper()
	b, err := FindBundle()
	if err != nil {
		Lacks(t, "%v", err)
	}
	return b
}

// Extract unpacks a component below dir; owners are kept if this is root.
func (b Bundle) Extract(component, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	layers, err := b.layers(component)
	if err != nil {
		return fmt.Errorf("component %q: %w", component, err)
	}
	for _, layer := range layers {
		if err := untar(b.blob(layer), dir); err != nil {
			return fmt.Errorf("component %q: %w", component, err)
		}
	}
	return nil
}

func untar(blob, dir string) error {
	f, err := os.Open(blob)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	tar := exec.Command("tar", "-x", "--numeric-owner", "-C", dir)
	tar.Stdin, tar.Stderr = z, os.Stderr
	return tar.Run()
}

func (b Bundle) layers(component string) ([]v1.Descriptor, error) {
	var index v1.Index
	if err := readJSON(filepath.Join(string(b), v1.ImageIndexFile), &index); err != nil {
		return nil, err
	}
	for _, d := range index.Manifests {
		if d.Annotations["dev.slipway.component"] != component {
			continue
		}
		var manifest v1.Manifest
		err := readJSON(b.blob(d), &manifest)
		return manifest.Layers, err
	}
	return nil, errors.New("not in the bundle")
}

func (b Bundle) blob(d v1.Descriptor) string {
	return filepath.Join(string(b), v1.ImageBlobsDir, "sha256", d.Digest.Encoded())
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
