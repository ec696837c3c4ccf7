package build_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/images/build"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/testenv"
)

// subset is one artifact of compiled programs and one image, the quickest of each.
func subset() []string { return []string{"cni-plugins", "pause"} }

// needTools skips where the compilers are missing, unless the test must run.
func needTools(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"go", "gcc"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		testenv.Lacks(t, "needs %s", tool)
	}
}

// units counts what a build made.
type units struct {
	mu   sync.Mutex
	made []string
	last build.Progress
}

func (u *units) report(p build.Progress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !p.Started {
		u.made = append(u.made, p.Unit)
		u.last = p
	}
}

func mustBuild(t *testing.T, output, cache string) *units {
	t.Helper()
	u := &units{}
	err := build.Build(t.Context(), build.Options{Output: output, CacheDir: cache, Components: subset(), Report: u.report})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestBuild(t *testing.T) {
	needTools(t)
	root := t.TempDir()
	dir, cache := filepath.Join(root, "bundle"), filepath.Join(root, "cache")
	first := mustBuild(t, dir, cache)
	if first.last.Done != first.last.Total || len(first.made) != 4 {
		t.Errorf("made %v, the last report is %+v", first.made, first.last)
	}

	t.Run("reproducible", func(t *testing.T) {
		// Nothing is shared: another folder, another cache, compiled anew, other settings of the user.
		other := t.TempDir()
		for name, value := range map[string]string{
			"GOCACHE": filepath.Join(other, "go"), "GOFLAGS": "-ldflags=-X=main.x=y", "CGO_ENABLED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C",
		} {
			t.Setenv(name, value)
		}
		mustBuild(t, filepath.Join(other, "bundle"), filepath.Join(other, "elsewhere"))
		if !bytes.Equal(read(t, dir, "index.json"), read(t, other, "bundle", "index.json")) {
			t.Error("two builds of the same pins have different indexes")
		}
		compareBlobs(t, dir, filepath.Join(other, "bundle"))
	})

	t.Run("other pins, other digests", func(t *testing.T) { differs(t, cache) })
	t.Run("versions", func(t *testing.T) { stamped(t, dir) })

	t.Run("not built again", func(t *testing.T) {
		if again := mustBuild(t, filepath.Join(root, "second"), cache); len(again.made) != 0 {
			t.Errorf("made %v again", again.made)
		}
	})

	t.Run("damage is repaired", func(t *testing.T) {
		index := read(t, dir, "index.json")
		flip(t, largest(t, filepath.Join(dir, "blobs/sha256")))
		if again := mustBuild(t, dir, cache); len(again.made) != 0 {
			t.Errorf("made %v though only the bundle was damaged", again.made)
		}
		compareBlobs(t, dir, filepath.Join(root, "second"))
		parts, err := filepath.Glob(filepath.Join(cache, "build", "cni-plugins-*", "blobs"))
		if err != nil || len(parts) != 1 {
			t.Fatalf("the cache has %v: %v", parts, err)
		}
		flip(t, largest(t, parts[0]))
		if again := mustBuild(t, dir, cache); len(again.made) != 1 {
			t.Errorf("made %v, want the one damaged component", again.made)
		}
		if !bytes.Equal(index, read(t, dir, "index.json")) {
			t.Error("the repaired bundle has another index")
		}
		compareBlobs(t, dir, filepath.Join(root, "second"))
	})

	t.Run("interrupted", func(t *testing.T) { interrupted(t, cache) })
}

// interrupted cancels a build while it compiles: no process, nothing half made, and no index stay.
func interrupted(t *testing.T, cache string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	err := build.Build(ctx, build.Options{
		Output: dir, CacheDir: cache, Components: []string{"etcdutl"},
		Report: func(build.Progress) { time.AfterFunc(500*time.Millisecond, cancel) },
	})
	if got := id(err); got != "build-interrupted" {
		t.Errorf("got %q: %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "index.json")); !errors.Is(err, os.ErrNotExist) {
		t.Error("an interrupted build left an index")
	}
	left, _ := filepath.Glob(filepath.Join(cache, "build", ".tmp-*"))
	if len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if running := inside(cache); len(running) > 0 {
		t.Errorf("processes %v still run", running)
	}
}

// inside lists the processes that work below dir.
func inside(dir string) []string {
	var out []string
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, l := range links {
		if cwd, err := os.Readlink(l); err == nil && strings.HasPrefix(cwd, dir+"/") {
			out = append(out, l)
		}
	}
	return out
}

func id(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.ID
	}
	return ""
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, want string
		options    build.Options
	}{
		{"version", "unknown-version", build.Options{Version: "1.12"}},
		{"component", "unknown-component", build.Options{Components: []string{"kube-dns"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Output, c.options.CacheDir = filepath.Join(t.TempDir(), "out"), t.TempDir()
			if err := build.Build(t.Context(), c.options); id(err) != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestDiskFull builds everything onto a file system that cannot hold it.
func TestDiskFull(t *testing.T) {
	needTools(t)
	if os.Getuid() != 0 {
		testenv.Lacks(t, "needs root")
	}
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small, 0)
	err := build.Build(t.Context(), build.Options{Output: filepath.Join(small, "out"), CacheDir: t.TempDir()})
	if id(err) != "disk-full" || !strings.Contains(err.Error(), small) {
		t.Errorf("got %v, want disk-full that names %s", err, small)
	}
}

// TestMissingTools looks with an empty search path: one fault names every tool and how to get it.
func TestMissingTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := build.Build(t.Context(), build.Options{Output: t.TempDir(), CacheDir: t.TempDir()})
	var f *fault.Error
	if !errors.As(err, &f) || f.ID != "missing-tools" {
		t.Fatalf("got %v", err)
	}
	for _, tool := range []string{"go", "gcc", "pkg-config", "libseccomp", "mmdebstrap"} {
		if !strings.Contains(f.Error(), tool) {
			t.Errorf("%q does not name %s", f.Error(), tool)
		}
	}
	want := "apt-get install -y debian-archive-keyring gcc libc6-dev libseccomp-dev mmdebstrap pkg-config"
	if !strings.Contains(f.Next, want) {
		t.Errorf("the advice is %q, want %q in it", f.Next, want)
	}
}
