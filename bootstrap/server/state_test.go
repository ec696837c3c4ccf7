package server

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/renameio/v2"
)

// TestClearUnwritten: a writer that is killed leaves a file, in which there may be secrets.
func TestClearUnwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.json")
	other := filepath.Join(filepath.Dir(path), ".other.json1")
	for _, file := range []string{path, other} {
		if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pending, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		t.Fatal(err)
	}
	defer pending.Close()
	if _, err := os.Stat(pending.Name()); err != nil {
		t.Fatal(err)
	}
	if err := clearUnwritten(path); err != nil {
		t.Fatal(err)
	}
	for file, there := range map[string]bool{path: true, other: true, pending.Name(): false} {
		if _, err := os.Stat(file); (err == nil) != there {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
	}
}
