package build

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"strings"
	"time"
)

const xattrPrefix = "SCHILY.xattr."

func (e *entry) write(out *tar.Writer, name string) error {
	h := &tar.Header{
		Typeflag: e.kind, Name: name, Linkname: e.link, Mode: e.mode,
		Uid: e.owner[0], Gid: e.owner[1], ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
	}
	if e.kind == tar.TypeDir {
		h.Name += "/"
	}
	if len(e.xattr) > 0 {
		h.PAXRecords = e.xattr
	}
	if e.kind != tar.TypeReg {
		return out.WriteHeader(h)
	}
	content, size, err := e.open()
	if err != nil {
		return err
	}
	defer content.Close()
	h.Size = size
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return err
}

// readTar indexes a tar file; the content stays where it is. Devices are left out: container
// runtimes make their own.
func readTar(file string) (tree, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, in := tree{}, tar.NewReader(f)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		// The reader takes the header exactly and does not read ahead, so this is where content begins.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		t.index(h, section{file: file, offset: at, size: h.Size})
	}
}

func (t tree) index(h *tar.Header, at section) {
	name := strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")
	if name == "" || name == "." {
		return
	}
	e := &entry{kind: h.Typeflag, mode: h.Mode, owner: [2]int{h.Uid, h.Gid}, link: h.Linkname, xattr: xattrs(h.PAXRecords)}
	switch h.Typeflag {
	case tar.TypeReg:
		e.from = &at
	case tar.TypeLink:
		e.link = strings.TrimPrefix(h.Linkname, "./")
	case tar.TypeDir, tar.TypeSymlink:
	default:
		return
	}
	t.add(name, e)
}

func xattrs(records map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range records {
		if strings.HasPrefix(k, xattrPrefix) {
			out[k] = v
		}
	}
	return out
}

func (s *section) open() (io.ReadCloser, int64, error) {
	f, err := os.Open(s.file)
	if err != nil {
		return nil, 0, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, s.offset, s.size), f}, s.size, nil
}
