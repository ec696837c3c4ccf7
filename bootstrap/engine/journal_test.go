package engine_test

import (
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/bootstrap/engine"
)

func TestJournalKeepsTheFirstEntry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "journal.jsonl")
	j := openJournal(t, path)
	first := engine.Entry{Step: "a", Kind: engine.KindFile, Name: "/x", Content: []byte("old")}
	second := engine.Entry{Step: "b", Kind: engine.KindFile, Name: "/x", Content: []byte("ours")}
	for _, e := range []engine.Entry{first, second} {
		if err := j.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, j := range []*engine.Journal{j, openJournal(t, path)} { // the same when it is read again
		if got := j.Entries(); len(got) != 1 || string(got[0].Content) != "old" || got[0].Version != engine.JournalVersion {
			t.Errorf("entries %+v", got)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of the journal: %v, %v", st.Mode(), err)
	}
}

// TestJournalAfterACrash holds that half a line is ignored, and that the next entry does not end up behind it.
func TestJournalAfterACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	text := `{"v":1,"step":"a","kind":"file","name":"/x","absent":true}` + "\n" + `{"v":1,"step":"b","ki`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	j := openJournal(t, path)
	if got := j.Entries(); len(got) != 1 || got[0].Name != "/x" || !got[0].Absent {
		t.Fatalf("entries %+v", got)
	}
	if err := j.Record(engine.Entry{Step: "c", Kind: engine.KindDir, Name: "/y"}); err != nil {
		t.Fatal(err)
	}
	if got := openJournal(t, path).Entries(); len(got) != 2 || got[1].Name != "/y" {
		t.Errorf("entries %+v", got)
	}
}

func TestJournalRefusesWhatItCannotRead(t *testing.T) {
	for what, line := range map[string]string{
		"a newer version": `{"v":99,"step":"a","kind":"file","name":"/x"}`,
		"damage":          `{"v":1,`,
	} {
		path := filepath.Join(t.TempDir(), "journal.jsonl")
		if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := engine.OpenJournal(path); err == nil {
			t.Errorf("%s was read", what)
		}
	}
}

func openJournal(t *testing.T, path string) *engine.Journal {
	t.Helper()
	j, err := engine.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
