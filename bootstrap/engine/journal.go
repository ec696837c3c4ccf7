package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// JournalVersion is the version of the journal's format. A newer binary reads older journals.
const JournalVersion = 1

// Entry is what was there before one change. Kind says which of the other fields mean something.
type Entry struct {
	Version int    `json:"v"`
	Step    string `json:"step"`
	Kind    Kind   `json:"kind"`
	Name    string `json:"name"` // path, sysctl or unit
	Absent  bool   `json:"absent,omitempty"`

	Content  []byte      `json:"content,omitempty"`  // file: what was in it
	Copy     string      `json:"copy,omitempty"`     // large file: where what was in it is kept, beside the journal
	Link     string      `json:"link,omitempty"`     // symbolic link: where it pointed
	Children []string    `json:"children,omitempty"` // tree: what was in it
	Mounts   []string    `json:"mounts,omitempty"`   // tree: what was mounted below it
	Mode     fs.FileMode `json:"mode,omitempty"`
	ModTime  time.Time   `json:"modTime,omitzero"`
	UID      int         `json:"uid,omitempty"`
	GID      int         `json:"gid,omitempty"`

	Value   string `json:"value,omitempty"`   // sysctl, note
	Enabled bool   `json:"enabled,omitempty"` // unit
	Active  bool   `json:"active,omitempty"`  // unit
}

// Kind is the kind of thing that a journal entry is about.
type Kind string

// The kinds of entries.
const (
	KindFile   Kind = "file"
	KindDir    Kind = "dir"
	KindTree   Kind = "tree"
	KindNote   Kind = "note"
	KindSysctl Kind = "sysctl"
	KindUnit   Kind = "unit"
)

func (e Entry) key() string { return string(e.Kind) + " " + e.Name }

// Journal is the record on a host of what was there before Slipway changed it: one JSON object a
// line, written and synced before the change. The first entry about a thing is the one that counts.
type Journal struct {
	mu   sync.Mutex
	path string
	seen map[string]bool
	list []Entry
}

// OpenJournal reads the journal at path; one that does not exist is empty. A last line that was cut
// off by a crash is ignored, since the change it announced was never made.
func OpenJournal(path string) (*Journal, error) {
	j := &Journal{path: path, seen: map[string]bool{}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return j, nil // the end of the file, or a line that was never finished
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("read journal %q: %w", path, err)
		}
		if e.Version > JournalVersion {
			return nil, fmt.Errorf("read journal %q: version %d is newer than this program's %d", path, e.Version, JournalVersion)
		}
		j.seen[e.key()] = true
		j.list = append(j.list, e)
	}
}

// Record writes the entries that the journal does not have yet and syncs them, in one go.
func (j *Journal) Record(entries ...Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var buf []byte
	var fresh []Entry
	for _, e := range entries {
		if j.seen[e.key()] {
			continue
		}
		e.Version = JournalVersion
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write journal: %w", err)
		}
		buf = append(append(buf, line...), '\n')
		fresh = append(fresh, e)
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := appendSynced(j.path, buf); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	for _, e := range fresh {
		j.seen[e.key()] = true
	}
	j.list = append(j.list, fresh...)
	return nil
}

// Entries returns a copy of all entries, oldest first.
func (j *Journal) Entries() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]Entry(nil), j.list...)
}

func (j *Journal) find(kind Kind, name string) (Entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.IndexFunc(j.list, func(e Entry) bool { return e.Kind == kind && e.Name == name })
	if i < 0 {
		return Entry{}, false
	}
	return j.list[i], true
}

// maxContent is the size in bytes up to which a file's content is in the journal itself.
const maxContent = 64 << 10

// copyAside copies a file beside the journal and syncs it.
func (j *Journal) copyAside(path string) (string, error) {
	dir := j.path + ".files"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	to := filepath.Join(dir, url.PathEscape(path))
	out, err := renameio.NewPendingFile(to, renameio.WithPermissions(0o600), renameio.WithTempDir(dir)) // which goes with the journal
	if err != nil {
		return "", err
	}
	defer func() { _ = out.Cleanup() }()
	if _, err := io.Copy(out, in); err != nil {
		return "", err
	}
	return to, out.CloseAtomicallyReplace()
}

// Remove deletes the journal: everything has been put back.
func (j *Journal) Remove() error {
	if err := os.RemoveAll(j.path + ".files"); err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove journal: %w", err)
	}
	return nil
}

// appendSynced appends after cutting off a line that a crash left unfinished.
func appendSynced(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	end := len(whole)
	for end > 0 && whole[end-1] != '\n' {
		end--
	}
	if err := f.Truncate(int64(end)); err != nil {
		return err
	}
	if _, err := f.WriteAt(data, int64(end)); err != nil {
		return err
	}
	return f.Sync()
}
