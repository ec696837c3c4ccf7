package build

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// tree is the content of a layer: paths without a leading slash.
type tree map[string]*entry

// entry is one file. Exactly one source of bytes is set for a regular file.
type entry struct {
	kind  byte // a tar type flag
	mode  int64
	owner [2]int // uid, gid
	link  string // target of a symbolic or hard link
	file  string // source: a file on disk
	data  []byte // source: bytes
	from  *section
	xattr map[string]string
}

// section is a part of a tar file on disk.
type section struct {
	file         string
	offset, size int64
}

func (t tree) add(name string, e *entry) {
	name = path.Clean(strings.TrimPrefix(name, "/"))
	t[name] = e
	t.parents(name)
}

// parents makes the directories above name that nobody made.
func (t tree) parents(name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if t[dir] == nil {
			t[dir] = &entry{kind: tar.TypeDir, mode: 0o755}
		}
	}
}

func (t tree) text(name string, mode int64, data string) {
	t.add(name, &entry{kind: tar.TypeReg, mode: mode, data: []byte(data)})
}

func (t tree) folder(name string, mode int64) {
	t.add(name, &entry{kind: tar.TypeDir, mode: mode})
}

func (t tree) symlink(name, target string) {
	t.add(name, &entry{kind: tar.TypeSymlink, mode: 0o777, link: target})
}

func (t tree) hardlink(name, target string) {
	t.add(name, &entry{kind: tar.TypeLink, mode: 0o755, link: target})
}

// remove drops every path that one of the patterns matches, and what lies below it. A hard link
// to something dropped keeps its content.
func (t tree) remove(patterns ...string) {
	gone := tree{}
	for name, e := range t {
		if matchesAny(name, patterns) {
			gone[name] = e
			delete(t, name)
		}
	}
	for name, e := range t {
		if target := gone[e.link]; e.kind == tar.TypeLink && target != nil {
			t[name] = target
		}
	}
}

func matchesAny(name string, patterns []string) bool {
	for p := name; p != "."; p = path.Dir(p) {
		if slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, err := path.Match(pattern, p)
			return ok && err == nil
		}) {
			return true
		}
	}
	return false
}

// write writes the tree as a tar that depends on nothing but its content: sorted, without times.
func (t tree) write(w io.Writer) error {
	out := tar.NewWriter(w)
	for _, name := range t.sorted() {
		if err := t[name].write(out, name); err != nil {
			return fmt.Errorf("pack %q: %w", name, err)
		}
	}
	return out.Close()
}

// sorted lists the names, each hard link after what it points to.
func (t tree) sorted() []string {
	var names, links []string
	for name, e := range t {
		if e.kind == tar.TypeLink {
			links = append(links, name)
		} else {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Sort(links)
	return append(names, links...)
}

func (e *entry) open() (io.ReadCloser, int64, error) {
	switch {
	case e.file != "":
		f, err := os.Open(e.file)
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, info.Size(), nil
	case e.from != nil:
		return e.from.open()
	}
	return io.NopCloser(strings.NewReader(string(e.data))), int64(len(e.data)), nil
}
