package registry_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/testenv"
	"slipway.dev/slipway/internal/testenv/testregistry"
)

// smallDisk gives the folder of a disk of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		testenv.Lacks(t, "needs root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size="+size); err != nil {
		testenv.Lacks(t, "mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return disk
}

// TestFullDisk: the disk is too small, or gets full in the middle. Nothing half is left to be used, and with more room the
// same pull goes on.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "68m")
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	b := makeBundle(t, t.TempDir(), layers{"image-a": 4 * mib, "image-b": 4 * mib})
	push(t, b, w.ref(t, ":v1"))
	_, err := pull(t.Context(), w.ref(t, ":v1"), disk, registry.Whole)
	wantFault(t, err, "disk-full", "it needs 72 MiB")
	if w.blobs.Load() > more {
		t.Errorf("%d bytes were fetched all the same", w.blobs.Load())
	}
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, "size=80m"); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	var once sync.Once // what has been fetched by the next time takes room, too
	w.spoils(func(r *http.Request, _ *http.Response) {
		if isBlob(r) {
			once.Do(func() { write(t, filler, make([]byte, 75*mib)) })
		}
	})
	dir, err := pull(t.Context(), w.ref(t, ":v1"), disk, registry.Whole)
	wantFault(t, err, "disk-full", "no space left")
	if _, err := images.Open(dir); err == nil {
		t.Error("half a bundle is one")
	}
	w.spoils(nil)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	before := w.blobs.Load()
	same(t, b.Dir(), mustPull(t, w.ref(t, ":v1"), disk))
	if again := w.blobs.Load() - before; again >= 8*mib {
		t.Errorf("%d bytes were fetched again", again)
	}
}

// TestFullTemporaryDisk: what there is no room for at the very beginning is not the registry's fault either.
func TestFullTemporaryDisk(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	push(t, makeBundle(t, t.TempDir(), layers{"image-a": 1, "image-b": 1}), w.ref(t, ":v1"))
	disk := smallDisk(t, "4k")
	t.Setenv("TMPDIR", disk)
	_, err := registry.Open(t.Context(), w.ref(t, ":v1"), registry.Options{})
	wantFault(t, err, "disk-full", "no space left")
	if left, _ := filepath.Glob(filepath.Join(disk, "*")); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
	t.Setenv("TMPDIR", filepath.Join(disk, "none"))
	if _, err := registry.Open(t.Context(), w.ref(t, ":v1"), registry.Options{}); !errors.Is(err, fs.ErrNotExist) || len(fault.All(err)) > 0 {
		t.Errorf("without a folder for what is temporary: %v", err)
	}
}
