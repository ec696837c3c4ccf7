package engine_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/testenv"
)

// TestClaimedTrees: what others put into a directory goes, what was there stays as it was.
func TestClaimedTrees(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	must(t, os.MkdirAll(filepath.Join(tree, "theirs/own"), 0o750))
	must(t, os.WriteFile(filepath.Join(tree, "theirs/own/file"), []byte("x"), 0o640))
	before := snapshot(t, tree)
	path := filepath.Join(dir, "journal.jsonl")
	h := engine.NewHost(openJournal(t, path))
	claimed := []string{filepath.Join(tree, "theirs"), filepath.Join(tree, "new/deep")}
	if got := h.Unclaimed(claimed...); !slices.Equal(got, claimed) {
		t.Errorf("unclaimed %q, want all", got)
	}
	must(t, h.Claim("claim", claimed...))
	if got := h.Unclaimed(claimed...); len(got) != 0 {
		t.Errorf("unclaimed %q, want none", got)
	}
	must(t, os.MkdirAll(filepath.Join(tree, "new/deep/er"), 0o700))
	must(t, os.WriteFile(filepath.Join(tree, "new/deep/er/file"), []byte("y"), 0o600))
	must(t, os.MkdirAll(filepath.Join(tree, "theirs/ours"), 0o700))
	must(t, os.Chmod(filepath.Join(tree, "theirs"), 0o700))
	must(t, h.Claim("claim", claimed...)) // again, with everything in it: the first time counts
	must(t, engine.Undo(t.Context(), "h", nil, openJournal(t, path), (&recorder{}).report))
	if after := snapshot(t, tree); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter  %q", before, after)
	}
}

// TestMountsInTrees: what is mounted in a claimed tree is unmounted, and not emptied.
func TestMountsInTrees(t *testing.T) {
	if os.Geteuid() != 0 {
		testenv.Lacks(t, "needs root")
	}
	dir := t.TempDir()
	tree, outside := filepath.Join(dir, "tree"), filepath.Join(dir, "outside")
	must(t, os.MkdirAll(outside, 0o700))
	must(t, os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600))
	path := filepath.Join(dir, "journal.jsonl")
	mount := func(target string) {
		must(t, os.MkdirAll(target, 0o700))
		must(t, unix.Mount(outside, target, "", unix.MS_BIND, ""))
		t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	}
	theirs := filepath.Join(dir, "theirs")
	mount(filepath.Join(theirs, "mounted"))
	must(t, engine.NewHost(openJournal(t, path)).Claim("claim", tree, theirs))
	mount(filepath.Join(tree, "pods/volume"))
	must(t, engine.Undo(t.Context(), "h", nil, openJournal(t, path), (&recorder{}).report))
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Error("what was mounted has been emptied:", err)
	}
	if _, err := os.Stat(tree); err == nil {
		t.Error("the tree is still there")
	}
	if _, err := os.Stat(filepath.Join(theirs, "mounted/precious")); err != nil {
		t.Error("what was mounted before is not:", err)
	}
}

// TestKeep: a large file that somebody else replaces comes back with content, mode and time.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	file, path := filepath.Join(dir, "program"), filepath.Join(dir, "state/journal.jsonl")
	data := bytes.Repeat([]byte("large"), 100<<10)
	must(t, os.WriteFile(file, data, 0o600))
	must(t, os.Chmod(file, 0o755|os.ModeSetuid))
	then := time.Unix(1700000000, 0)
	must(t, os.Chtimes(file, then, then))
	must(t, engine.NewHost(openJournal(t, path)).Keep("keep", file))
	must(t, os.Remove(file))
	must(t, os.WriteFile(file, []byte("ours"), 0o700))
	j := openJournal(t, path)
	must(t, engine.NewHost(j).Keep("keep", file))
	must(t, engine.Undo(t.Context(), "h", nil, j, (&recorder{}).report))
	got, err := os.ReadFile(file)
	must(t, err)
	st, err := os.Stat(file)
	must(t, err)
	if !bytes.Equal(got, data) || st.Mode() != 0o755|os.ModeSetuid || !st.ModTime().Equal(then) {
		t.Errorf("%d bytes, mode %v, time %v", len(got), st.Mode(), st.ModTime())
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestNotes: the first note counts, and another process reads it.
func TestNotes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	h := engine.NewHost(openJournal(t, path))
	must(t, h.Note("s", "links", "lo"))
	must(t, h.Note("s", "links", "lo eth0"))
	if v, ok := engine.NewHost(openJournal(t, path)).Noted("links"); v != "lo" || !ok {
		t.Errorf("noted %q, %v", v, ok)
	}
	if _, ok := h.Noted("other"); ok {
		t.Error("noted what nobody noted")
	}
}
