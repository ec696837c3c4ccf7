package engine_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"slipway.dev/slipway/bootstrap/engine"
)

func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	old, fresh, link := filepath.Join(dir, "old"), filepath.Join(dir, "new/deep/file"), filepath.Join(dir, "link")
	if err := os.WriteFile(old, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	files := []engine.File{
		{Path: old, Data: []byte("after"), Mode: 0o600},
		{Path: fresh, Data: []byte("secret"), Mode: 0o600},
		{Path: link, Link: "old"},
	}
	if got := engine.Differing(files); len(got) != 3 {
		t.Errorf("differing: %q", got)
	}
	j := openJournal(t, filepath.Join(dir, "journal.jsonl"))
	h := engine.NewHost(j)
	for range 2 { // again changes nothing
		if err := h.WriteFiles("s", files); err != nil {
			t.Fatal(err)
		}
	}
	if got := engine.Differing(files); len(got) > 0 {
		t.Errorf("still differing: %q", got)
	}
	wantFile(t, old, "after", 0o600)
	wantFile(t, fresh, "secret", 0o600)
	wantFile(t, link, "after", 0o600)
	wantJournal(t, j, []engine.Entry{
		{Kind: engine.KindFile, Name: old, Content: []byte("before")},
		{Kind: engine.KindDir, Name: filepath.Join(dir, "new"), Absent: true},
		{Kind: engine.KindDir, Name: filepath.Join(dir, "new/deep"), Absent: true},
		{Kind: engine.KindFile, Name: fresh, Absent: true},
		{Kind: engine.KindFile, Name: link, Absent: true},
	})
	left, err := filepath.Glob(filepath.Join(dir, "*slipway*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestDifferingMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := []engine.File{{Path: path, Data: []byte("x"), Mode: 0o600}}
	if got := engine.Differing(want); !slices.Equal(got, []string{path + ": 1 bytes, mode 0644 -> 1 bytes, mode 0600"}) {
		t.Errorf("a key that all can read counts as right: %q", got)
	}
}

func TestWriteFilesJournalsLinks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", path); err != nil {
		t.Fatal(err)
	}
	j := openJournal(t, filepath.Join(dir, "journal.jsonl"))
	if err := engine.NewHost(j).WriteFiles("s", []engine.File{{Path: path, Data: []byte("file"), Mode: 0o644}}); err != nil {
		t.Fatal(err)
	}
	if got := j.Entries(); len(got) != 1 || got[0].Link != "nowhere" {
		t.Errorf("entries %+v", got)
	}
	wantFile(t, path, "file", 0o644)
}

func wantFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	st, err := os.Stat(path)
	if err != nil || string(data) != content || st.Mode().Perm() != mode {
		t.Errorf("%s has %q with mode %v, want %q with %v (%v)", path, data, st.Mode(), content, mode, err)
	}
}

func wantJournal(t *testing.T, j *engine.Journal, want []engine.Entry) {
	t.Helper()
	got := j.Entries()
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		g := got[i]
		if g.Kind != w.Kind || g.Name != w.Name || g.Absent != w.Absent || string(g.Content) != string(w.Content) {
			t.Errorf("entry %d is %+v, want %+v", i, g, w)
		}
	}
}
