package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Host changes the host it runs on, and writes the journal before each change. All its methods may
// be called concurrently.
type Host struct{ journal *Journal }

// NewHost returns a host whose changes are recorded in j.
func NewHost(j *Journal) *Host { return &Host{journal: j} }

// File is a file that should be there with exactly this content and mode, or a symbolic link where Link is set.
type File struct {
	Path string      `json:"path"`
	Data []byte      `json:"data,omitempty"`
	Mode fs.FileMode `json:"mode,omitempty"`
	Link string      `json:"link,omitempty"`
}

// Differing lists the files that are not there as they should be, each with what is there now.
func Differing(files []File) []string {
	var out []string
	for _, f := range files {
		if !f.there() {
			out = append(out, f.change())
		}
	}
	return out
}

// change says what is there now and what is to be.
func (f File) change() string {
	want := fmt.Sprintf("%d bytes, mode %04o", len(f.Data), f.Mode.Perm())
	if f.Link != "" {
		want = "a link to " + f.Link
	}
	st, err := os.Lstat(f.Path)
	switch {
	case err != nil:
		return fmt.Sprintf("%s: none -> %s", f.Path, want)
	case !st.Mode().IsRegular():
		return fmt.Sprintf("%s: %v -> %s", f.Path, st.Mode(), want)
	}
	return fmt.Sprintf("%s: %d bytes, mode %04o -> %s", f.Path, st.Size(), st.Mode().Perm(), want)
}

func (f File) there() bool {
	if f.Link != "" {
		to, err := os.Readlink(f.Path)
		return err == nil && to == f.Link
	}
	st, err := os.Lstat(f.Path)
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != f.Mode.Perm() || st.Size() != int64(len(f.Data)) {
		return false
	}
	data, err := os.ReadFile(f.Path)
	return err == nil && bytes.Equal(data, f.Data)
}

// WriteFiles records what was there, in one journal write, then writes the files that differ.
// Each appears under its name only when it is complete.
func (h *Host) WriteFiles(step string, files []File) error {
	var before []Entry
	var todo []File
	dirs := map[string]bool{}
	for _, f := range files {
		if f.there() {
			continue
		}
		todo = append(todo, f)
		before = append(before, missingDirs(step, filepath.Dir(f.Path), dirs)...)
		e, err := h.journal.fileEntry(step, f.Path)
		if err != nil {
			return err
		}
		before = append(before, e)
	}
	if err := h.journal.Record(before...); err != nil {
		return err
	}
	for _, f := range todo {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil { //nolint:gosec // system directories are world-readable
			return fmt.Errorf("make directory: %w", err)
		}
		if err := replaceFile(f); err != nil {
			return err
		}
	}
	return nil
}

// Mkdir records and makes a directory with its parents.
func (h *Host) Mkdir(step, path string, mode fs.FileMode) error {
	if err := h.journal.Record(missingDirs(step, path, map[string]bool{})...); err != nil {
		return err
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return os.Chmod(path, mode)
}

// missingDirs gives an entry for each directory on the way to path that does not exist, outermost first.
func missingDirs(step, path string, known map[string]bool) []Entry {
	var out []Entry
	for p := path; p != "/" && p != "." && !known[p]; p = filepath.Dir(p) {
		if _, err := os.Lstat(p); err == nil {
			break
		}
		known[p] = true
		out = append([]Entry{{Step: step, Kind: KindDir, Name: p, Absent: true}}, out...)
	}
	return out
}

func (j *Journal) fileEntry(step, path string) (Entry, error) {
	e := Entry{Step: step, Kind: KindFile, Name: path}
	if _, ok := j.find(KindFile, path); ok {
		return e, nil // it is the first entry that counts: no need to look
	}
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		e.Absent = true
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("look at %q: %w", path, err)
	}
	e.setOwner(st)
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		e.Link, err = os.Readlink(path)
	case st.Mode().IsRegular() && st.Size() > maxContent:
		e.Copy, err = j.copyAside(path)
	case st.Mode().IsRegular():
		e.Content, err = os.ReadFile(path)
	default:
		err = errors.New("it is neither a file nor a link")
	}
	if err != nil {
		return e, fmt.Errorf("keep a copy of %q: %w", path, err)
	}
	return e, nil
}

// unwritten is the pattern of the names under which a file is written before it takes its place.
func unwritten(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".slipway-*")
}

// clearUnwritten removes what writers that were killed have left beside a file.
func clearUnwritten(path string) error {
	left, err := filepath.Glob(unwritten(path))
	for _, one := range left {
		err = errors.Join(err, os.Remove(one))
	}
	return err
}

func replaceFile(f File) error {
	if err := clearUnwritten(f.Path); err != nil {
		return fmt.Errorf("write %q: %w", f.Path, err)
	}
	if f.Link != "" {
		return replaceLink(f)
	}
	tmp, err := os.CreateTemp(filepath.Split(unwritten(f.Path)))
	if err != nil {
		return fmt.Errorf("write %q: %w", f.Path, err)
	}
	defer os.Remove(tmp.Name()) // gone already when all went well
	_, err = tmp.Write(f.Data)
	err = errors.Join(err, tmp.Chmod(f.Mode.Perm()), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.Path)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", f.Path, err)
	}
	return nil
}

func replaceLink(f File) error {
	tmp := strings.ReplaceAll(unwritten(f.Path), "*", strconv.Itoa(os.Getpid())) // one converge at a time holds the host's lock
	err := os.Symlink(f.Link, tmp)
	if err == nil {
		err = os.Rename(tmp, f.Path)
	}
	if err != nil {
		return fmt.Errorf("link %q: %w", f.Path, err)
	}
	return nil
}

// Sysctl is a kernel setting, in dots, and the value it should have.
type Sysctl struct{ Name, Value string }

func (s Sysctl) path() string { return "/proc/sys/" + strings.ReplaceAll(s.Name, ".", "/") }

func (s Sysctl) read() (string, error) {
	b, err := os.ReadFile(s.path())
	return strings.TrimSpace(string(b)), err
}

// DifferingSysctls lists the settings that have another value; settings this kernel lacks are left out.
func DifferingSysctls(want []Sysctl) []string {
	var out []string
	for _, s := range want {
		if v, err := s.read(); err == nil && v != s.Value {
			out = append(out, fmt.Sprintf("%s: %s -> %s", s.Name, v, s.Value))
		}
	}
	return out
}

// KeepSysctls records settings that somebody else is going to change.
func (h *Host) KeepSysctls(step string, names ...string) error {
	for _, name := range names {
		v, err := Sysctl{Name: name}.read()
		if err != nil {
			continue // this kernel has none of that name
		}
		if err := h.journal.Record(Entry{Step: step, Kind: KindSysctl, Name: name, Value: v}); err != nil {
			return err
		}
	}
	return nil
}

// SetSysctls records and sets the settings that have another value.
func (h *Host) SetSysctls(step string, want []Sysctl) error {
	for _, s := range want {
		v, err := s.read()
		if err != nil || v == s.Value {
			continue
		}
		if err := h.journal.Record(Entry{Step: step, Kind: KindSysctl, Name: s.Name, Value: v}); err != nil {
			return err
		}
		if err := os.WriteFile(s.path(), []byte(s.Value), 0o600); err != nil {
			return fmt.Errorf("set %s to %s: %w", s.Name, s.Value, err)
		}
	}
	return nil
}
