package registry_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/testenv/testregistry"
)

// TestRepair: what was damaged on this disk is fetched again by whoever asks for that, and nothing else is.
func TestRepair(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	b := makeBundle(t, t.TempDir(), layers{"image-a": 2 * mib, "image-b": mib, "image-c": mib})
	push(t, b, w.ref(t, ":v1"))
	root := t.TempDir()
	dir := mustPull(t, w.ref(t, ":v1"), root)
	flip(t, blob(dir, layerOf(t, b, "image-b")))
	flip(t, blob(dir, b.Blobs(registry.Whole)[0])) // a manifest
	bad, err := images.Open(dir)
	if all := fault.All(err); bad != nil || len(all) != 1 || !strings.Contains(all[0].Next, "images pull REF --output "+dir) {
		t.Errorf("the damaged one: %v, %v", bad, err)
	}
	r, err := registry.Open(t.Context(), w.ref(t, ":v1"), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.blobs.Store(0)
	for range 2 {
		if err := r.Repair(t.Context(), dir, registry.Whole, quiet); err != nil {
			t.Fatal(err)
		}
	}
	same(t, b.Dir(), dir)
	if n := w.blobs.Load(); n > mib+more {
		t.Errorf("%d bytes were fetched", n)
	}
}

// TestOccupied: a directory with another bundle, or with other images, is left alone.
func TestOccupied(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	b := makeBundle(t, t.TempDir(), layers{"image-a": mib})
	push(t, b, w.ref(t, ":v1"))
	r, err := registry.Open(t.Context(), w.ref(t, ":v1"), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	other := makeBundle(t, t.TempDir(), layers{"files-b": mib})
	wantFault(t, r.Pull(t.Context(), other.Dir(), registry.Whole, quiet), "option-invalid", other.Digest())
	if err := other.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	foreign, text := t.TempDir(), []byte(`{"schemaVersion": 2, "manifests": []}`)
	index := filepath.Join(foreign, v1.ImageIndexFile)
	write(t, index, text)
	wantFault(t, r.Pull(t.Context(), foreign, registry.Whole, quiet), "option-invalid", foreign)
	if got, err := os.ReadFile(index); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%s became %q, %v", index, got, err)
	}
	if beside, _ := filepath.Glob(foreign + "?*"); len(beside) > 0 {
		t.Errorf("%v is beside it", beside)
	}
	if err := os.RemoveAll(index); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(index, "file"), nil) // something else, that cannot be read
	wantFault(t, r.Pull(t.Context(), foreign, registry.Whole, quiet), "option-invalid", "is a directory")
}
