package addons_test

import (
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

// bundle is the directory of one; it is read here as plain OCI, since addons knows nothing of images.
type bundle string

// findBundle takes the newest version.
func findBundle() (bundle, error) {
	cache := os.Getenv("SLIPWAY_CACHE")
	if cache == "" {
		cache = "/var/cache/slipway"
	}
	pattern := filepath.Join(cache, "bundles", "v*-"+runtime.GOARCH)
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no %q", pattern)
	}
	return bundle(found[len(found)-1]), nil
}

// skipUnlessRequired ends a test that lacks something; where all tests must run, that is a failure.
func skipUnlessRequired(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("SLIPWAY_E2E") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// extract unpacks all layers of a component into dir.
func (b bundle) extract(component, dir string) error {
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
	tar := exec.Command("tar", "-x", "--no-same-owner", "-C", dir)
	tar.Stdin, tar.Stderr = z, os.Stderr
	return tar.Run()
}

func (b bundle) layers(component string) ([]v1.Descriptor, error) {
	var index v1.Index
	if err := readJSON(filepath.Join(string(b), "index.json"), &index); err != nil {
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

func (b bundle) blob(d v1.Descriptor) string {
	return filepath.Join(string(b), "blobs", "sha256", d.Digest.Encoded())
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
