package registry

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// TestLinkBlob: what is beside a bundle may be anything.
func TestLinkBlob(t *testing.T) {
	dir, text := t.TempDir(), []byte("content")
	d := v1.Descriptor{Digest: digest.FromBytes(text), Size: int64(len(text))}
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	others := map[string]string{"fifo": fifo, "folder": dir, "none": filepath.Join(dir, "none"),
		"damaged": file("damaged", []byte("CONTENT")), "longer": file("longer", append(text, 0))}
	if theirs := file("theirs", text); os.Geteuid() == 0 {
		if err := os.Chown(theirs, 1, 1); err != nil {
			t.Fatal(err)
		}
		others["theirs"] = theirs
	}
	to := filepath.Join(dir, "blobs", "taken")
	for name, from := range others {
		if err := linkBlob(from, to, d); err == nil {
			t.Errorf("%s was taken over", name)
		}
		if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	from := file("good", text)
	for range 2 { // the second time to where it is already
		if err := linkBlob(from, to, d); err != nil {
			t.Fatal(err)
		}
	}
	a, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.Stat(to); err != nil || !os.SameFile(a, b) {
		t.Errorf("it takes place twice: %v", err)
	}
}

// TestCopyBlob: what has changed since it was checked is not taken over after all.
func TestCopyBlob(t *testing.T) {
	dir, text := t.TempDir(), []byte("content")
	t.Setenv("TMPDIR", dir)
	d := v1.Descriptor{Digest: digest.FromBytes(text), Size: int64(len(text))}
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, data := range []string{"content", "CONTENT"} {
		if err := errors.Join(os.WriteFile(from, []byte(data), 0o644), os.RemoveAll(to)); err != nil {
			t.Fatal(err)
		}
		in, _, err := openFile(from)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = in.Seek(0, 2) // as one who has read it
		err = errors.Join(copyBlob(in, to, d), in.Close())
		if got, _ := os.ReadFile(to); data == string(text) && (err != nil || string(got) != data) || data != string(text) && !errors.Is(err, errDigest) {
			t.Errorf("%q became %q: %v", data, got, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("there is more than the source: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
