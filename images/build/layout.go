package build

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/pins"
)

// writeLayout lays the components' blobs together. The index comes last and at once: a folder
// without one is not a bundle, and an older bundle stays whole until the new one is complete.
func writeLayout(dir string, s pins.Set, components []string) error {
	to := filepath.Join(dir, v1.ImageBlobsDir, "sha256")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	index := v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Annotations: map[string]string{
			images.AnnotationFormat: images.Format, images.AnnotationKubernetes: s.Kubernetes, images.AnnotationPlatform: "linux/" + runtime.GOARCH,
		},
	}
	keep := map[string]bool{}
	for _, component := range components {
		d, err := addComponent(component, to, keep)
		if err != nil {
			return err
		}
		index.Manifests = append(index.Manifests, d)
	}
	if err := writeJSON(filepath.Join(dir, v1.ImageLayoutFile), v1.ImageLayout{Version: v1.ImageLayoutVersion}); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, v1.ImageIndexFile), index); err != nil {
		return err
	}
	return dropOthers(to, keep)
}

func addComponent(from, to string, keep map[string]bool) (v1.Descriptor, error) {
	var d v1.Descriptor
	data, err := os.ReadFile(filepath.Join(from, descriptorFile))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, err
	}
	entries, err := os.ReadDir(filepath.Join(from, "blobs"))
	if err != nil {
		return d, err
	}
	for _, e := range entries {
		keep[e.Name()] = true
		if err := place(filepath.Join(from, "blobs", e.Name()), filepath.Join(to, e.Name())); err != nil {
			return d, err
		}
	}
	return d, nil
}

// dropOthers removes the blobs of an older bundle in the same folder.
func dropOthers(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// writeJSON replaces a file in one step.
func writeJSON(file string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// place copies a blob into the bundle unless it is there and whole. A copy and not a hard link:
// damage to one bundle must not reach the cache and other bundles.
func place(from, to string) error {
	if named(to, filepath.Base(to)) {
		return nil
	}
	return copyFile(from, to)
}

// linkOrCopy puts a file in a second place of the cache.
func linkOrCopy(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, syscall.EXDEV) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EMLINK) {
		return copyFile(from, to)
	}
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp, err := os.CreateTemp(filepath.Dir(to), ".copy-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, in)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), to)
}
