package treecopy_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/testenv"
	"slipway.dev/slipway/internal/treecopy"
)

func everything(string) bool { return true }

// tree has one of each kind that a machine's disk has.
func tree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "from")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "deep/er"), 0o750))
	must(os.WriteFile(filepath.Join(dir, "deep/er/file"), []byte("content"), 0o640))
	must(os.Chmod(filepath.Join(dir, "deep/er/file"), 0o751|fs.ModeSetuid))
	must(os.Link(filepath.Join(dir, "deep/er/file"), filepath.Join(dir, "same")))
	must(os.Symlink("nowhere", filepath.Join(dir, "link")))
	must(unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "final"), []byte("never written again"), 0o600))
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	must(err)
	_, err = sparse.WriteAt([]byte("end"), 32<<20)
	must(err)
	must(sparse.Truncate(64 << 20))
	must(sparse.Close())
	must(unix.Setxattr(filepath.Join(dir, "deep"), "user.one", []byte("value"), 0))
	must(os.Chtimes(filepath.Join(dir, "deep"), time.Time{}, time.Unix(1000, 0)))
	return dir
}

func stat(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}

func TestCopy(t *testing.T) {
	from := tree(t)
	to := filepath.Join(filepath.Dir(from), "to")
	size, err := treecopy.Copy(t.Context(), from, to, func(path string, _ fs.FileInfo) bool { return path == "final" })
	if err != nil {
		t.Fatal(err)
	}
	if size.Files != 9 || size.Linked != int64(len("never written again")) {
		t.Errorf("got %+v", size)
	}
	of := func(name string) string { return filepath.Join(to, name) }
	if a, b := stat(t, of("same")), stat(t, of("deep/er/file")); a.Ino != b.Ino || a.Mode&0o7777 != 0o4751 {
		t.Errorf("two names of one file: %v, %v", a, b)
	}
	if stat(t, of("same")).Ino == stat(t, filepath.Join(from, "same")).Ino {
		t.Error("what may be written to is linked")
	}
	if stat(t, of("final")).Ino != stat(t, filepath.Join(from, "final")).Ino {
		t.Error("what is final is not linked")
	}
	if s := stat(t, of("sparse")); s.Size != 64<<20 || s.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes, of which %d are on the disk", s.Size, s.Blocks*512)
	}
	if s := stat(t, of("deep")); s.Mtim.Sec != 1000 || s.Mode&0o777 != 0o750 {
		t.Errorf("directory: %v", s)
	}
	value := make([]byte, 16)
	if n, err := unix.Getxattr(of("deep"), "user.one", value); err != nil || string(value[:n]) != "value" {
		t.Errorf("attribute: %q, %v", value, err)
	}
	if a, b := read(t, of("sparse")), read(t, filepath.Join(from, "sparse")); !bytes.Equal(a, b) {
		t.Error("the file with holes differs")
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestOverlay copies what only root can make: devices, owners, and the attributes that overlays keep.
func TestOverlay(t *testing.T) {
	from := filepath.Join(t.TempDir(), "from")
	if err := os.Mkdir(from, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(from, "gone"), unix.S_IFCHR, 0); err != nil {
		testenv.Lacks(t, "needs root: %v", err)
	}
	if err := unix.Setxattr(from, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		testenv.Lacks(t, "needs root: %v", err)
	}
	if err := os.Lchown(filepath.Join(from, "gone"), 12, 34); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(filepath.Dir(from), "to")
	if _, err := treecopy.Copy(t.Context(), from, to, nil); err != nil {
		t.Fatal(err)
	}
	if s := stat(t, filepath.Join(to, "gone")); s.Mode&unix.S_IFMT != unix.S_IFCHR || s.Rdev != 0 || s.Uid != 12 || s.Gid != 34 {
		t.Errorf("whiteout: %v", s)
	}
	value := make([]byte, 4)
	if n, err := unix.Getxattr(to, "trusted.overlay.opaque", value); err != nil || string(value[:n]) != "y" {
		t.Errorf("opaque: %q, %v", value, err)
	}
}

func TestDigest(t *testing.T) {
	from := tree(t)
	to := filepath.Join(filepath.Dir(from), "to")
	if _, err := treecopy.Copy(t.Context(), from, to, nil); err != nil {
		t.Fatal(err)
	}
	want := digest(t, from)
	if got := digest(t, to); got != want {
		t.Errorf("the copy has digest %s, want %s", got, want)
	}
	for name, change := range map[string]func() error{
		"mode":    func() error { return os.Chmod(filepath.Join(to, "final"), 0o644) },
		"content": func() error { return os.WriteFile(filepath.Join(to, "final"), []byte("never written AGAIN"), 0o600) },
		"gone":    func() error { return os.Remove(filepath.Join(to, "pipe")) },
		"link": func() error {
			return os.Rename(filepath.Join(to, "link"), filepath.Join(to, "knil"))
		},
	} {
		before := digest(t, to)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if digest(t, to) == before {
			t.Errorf("%s: nothing is noticed", name)
		}
	}
	if _, err := treecopy.Copy(t.Context(), from, to, nil); err == nil {
		t.Error("copied over what was there")
	}
}

func digest(t *testing.T, dir string) string {
	t.Helper()
	d, err := treecopy.Digest(t.Context(), dir, everything)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
