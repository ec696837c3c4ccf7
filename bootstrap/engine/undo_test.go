package engine_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"slipway.dev/slipway/bootstrap/engine"
)

// TestUndo: files, links and directories are afterwards exactly as they were before, and the journal is gone.
func TestUndo(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	must(t, os.MkdirAll(filepath.Join(tree, "keep"), 0o750))
	must(t, os.WriteFile(filepath.Join(tree, "old"), []byte("before"), 0o640))
	must(t, os.Symlink("nowhere", filepath.Join(tree, "link")))
	before := snapshot(t, tree)
	path := filepath.Join(dir, "journal.jsonl")
	h := engine.NewHost(openJournal(t, path))
	files := []engine.File{
		{Path: filepath.Join(tree, "old"), Data: []byte("after"), Mode: 0o600},
		{Path: filepath.Join(tree, "link"), Data: []byte("a file now"), Mode: 0o600},
		{Path: filepath.Join(tree, "keep/new"), Data: []byte("x"), Mode: 0o600},
		{Path: filepath.Join(tree, "a/b/new"), Link: "x"},
	}
	must(t, h.WriteFiles("files", files))
	must(t, h.Mkdir("dirs", filepath.Join(tree, "c/d"), 0o700))
	r := &recorder{}
	var undone []string
	undo := func(name string) func(context.Context) error {
		return func(context.Context) error { undone = append(undone, name); return nil }
	}
	steps := []engine.Step{r.step("files", nil), r.step("service", nil, "files"), r.step("pods", nil, "service")}
	for i := range steps {
		steps[i].Undo = undo(steps[i].Name)
	}
	j := openJournal(t, path) // as another process reads it
	must(t, engine.Undo(t.Context(), "h", steps, j, r.report))
	if after := snapshot(t, tree); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter  %q", before, after)
	}
	if want := []string{"pods", "service", "files"}; !slices.Equal(undone, want) {
		t.Errorf("undone in the order %q, want %q", undone, want)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the journal is still there")
	}
}

// TestUndoAgain: when a step cannot be undone, nothing is put back under its feet, and the next try completes it.
func TestUndoAgain(t *testing.T) {
	dir := t.TempDir()
	file, path := filepath.Join(dir, "file"), filepath.Join(dir, "journal.jsonl")
	j := openJournal(t, path)
	must(t, engine.NewHost(j).WriteFiles("s", []engine.File{{Path: file, Data: []byte("x"), Mode: 0o600}}))
	r := &recorder{}
	s := r.step("s", nil)
	s.Undo = func(context.Context) error { return errors.New("still running") }
	if err := engine.Undo(t.Context(), "", []engine.Step{s}, j, r.report); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file went although what uses it runs: %v", err)
	}
	s.Undo = nil
	must(t, engine.Undo(t.Context(), "", []engine.Step{s}, openJournal(t, path), r.report))
	if _, err := os.Stat(file); err == nil {
		t.Error("the file is still there")
	}
}

// TestKilledWhileWriting: what a writer leaves that was killed goes with the next try, or when all is undone.
func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	tree, path := filepath.Join(dir, "tree"), filepath.Join(dir, "journal.jsonl")
	must(t, os.Mkdir(tree, 0o700))
	file, link := filepath.Join(tree, "ca.key"), filepath.Join(tree, "link")
	files := []engine.File{{Path: file, Data: []byte("secret"), Mode: 0o600}, {Path: link, Link: "x"}}
	left := func() {
		must(t, os.WriteFile(filepath.Join(tree, ".ca.key.slipway-1"), []byte("sec"), 0o600))
		must(t, os.Symlink("x", filepath.Join(tree, ".link.slipway-1")))
	}
	j := openJournal(t, path)
	left()
	must(t, engine.NewHost(j).WriteFiles("s", files))
	if got, err := filepath.Glob(filepath.Join(tree, ".*")); err != nil || len(got) > 0 {
		t.Errorf("after the next try: %q, %v", got, err)
	}
	left()
	must(t, engine.Undo(t.Context(), "", nil, j, (&recorder{}).report))
	if got := snapshot(t, tree); len(got) > 1 {
		t.Errorf("after all is undone: %q", got)
	}
}

// TestUndoLeavesOthersFiles: a directory of ours that somebody has put something into stays.
func TestUndoLeavesOthersFiles(t *testing.T) {
	dir := t.TempDir()
	ours := filepath.Join(dir, "ours")
	j := openJournal(t, filepath.Join(dir, "journal.jsonl"))
	must(t, engine.NewHost(j).Mkdir("s", ours, 0o700))
	theirs := filepath.Join(ours, "theirs")
	must(t, os.WriteFile(theirs, nil, 0o600))
	must(t, engine.Undo(t.Context(), "", nil, j, (&recorder{}).report))
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot lists a tree with modes, links and contents.
func snapshot(t *testing.T, root string) (out []string) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		link, _ := os.Readlink(path)
		data, _ := os.ReadFile(path)
		out = append(out, path+" "+info.Mode().String()+" "+link+" "+string(data))
		return nil
	}))
	return out
}
