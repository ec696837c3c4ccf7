package build_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
)

// compareBlobs wants the same blobs in both bundles, each with the digest it is named after.
func compareBlobs(t *testing.T, a, b string) {
	t.Helper()
	x, y := names(t, a), names(t, b)
	if len(x) != len(y) {
		t.Errorf("%d blobs and %d", len(x), len(y))
	}
	for name := range x {
		if !y[name] {
			t.Errorf("%s is in one bundle only", name)
		}
	}
}

func names(t *testing.T, bundle string) map[string]bool {
	t.Helper()
	dir := filepath.Join(bundle, "blobs/sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, e := range entries {
		sum := sha256.Sum256(read(t, dir, e.Name()))
		if hex.EncodeToString(sum[:]) != e.Name() {
			t.Errorf("blob %s holds something else", e.Name())
		}
		out[e.Name()] = true
	}
	return out
}

func largest(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var file string
	var size int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > size {
			file, size = filepath.Join(dir, e.Name()), info.Size()
		}
	}
	return file
}

// flip changes one byte in the middle of a file.
func flip(t *testing.T, file string) {
	t.Helper()
	data := read(t, file)
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
