package local_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// materials are what machines are made from: a root file system and runc, from a bundle.
type materials struct {
	dir string
	err error
}

func (m materials) rootfs() string { return filepath.Join(m.dir, "rootfs") }
func (m materials) runc() string   { return filepath.Join(m.dir, "runc/usr/local/sbin/runc") }

// unpacked unpacks once for all tests, into a directory that TestMain makes and removes.
var unpacked = sync.OnceValue(func() materials {
	m := materials{dir: os.Getenv(scratch)}
	bundle, err := findBundle()
	if err == nil {
		err = errors.Join(bundle.extract("machine-rootfs", m.rootfs()), bundle.extract("runc", filepath.Join(m.dir, "runc")))
	}
	m.err = err
	return m
})

// needMachines skips a test that makes machines where that is impossible, unless it must run.
func needMachines(t *testing.T) materials {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("SLIPWAY_E2E") == "required" {
		skip = t.Fatalf
	}
	if os.Getuid() != 0 {
		skip("needs root")
	}
	m := unpacked()
	if m.err != nil {
		skip("needs a bundle: %v", m.err)
	}
	return m
}

type bundle string

// findBundle takes the newest version; which one does not matter here.
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

func (b bundle) extract(component, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	layer, err := b.layer(component)
	if err != nil {
		return fmt.Errorf("component %q: %w", component, err)
	}
	f, err := os.Open(b.blob(layer))
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

func (b bundle) layer(component string) (v1.Descriptor, error) {
	var index v1.Index
	if err := readJSON(filepath.Join(string(b), "index.json"), &index); err != nil {
		return v1.Descriptor{}, err
	}
	for _, d := range index.Manifests {
		if d.Annotations["dev.slipway.component"] != component {
			continue
		}
		var manifest v1.Manifest
		if err := readJSON(b.blob(d), &manifest); err != nil {
			return v1.Descriptor{}, err
		}
		return manifest.Layers[0], nil
	}
	return v1.Descriptor{}, errors.New("not in the bundle")
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
