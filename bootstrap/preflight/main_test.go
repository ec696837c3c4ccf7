package preflight_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/internal/testenv"
)

// inside marks the process that TestMain has put into a network namespace of its own.
const inside = "SLIPWAY_TEST_INSIDE"

// TestMain runs all tests in a network namespace, where links, addresses and rules hurt nobody. It goes with this process.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // the namespace is the thread's, and exec keeps the thread's
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		var lo netlink.Link
		if lo, err = netlink.LinkByName("lo"); err == nil {
			err = netlink.LinkSetUp(lo)
		}
	}
	if err == nil {
		err = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), inside+"=1"))
	}
	fmt.Fprintln(os.Stderr, "enter the network namespace of the tests:", err)
	os.Exit(1)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Lacks(t, "this needs root, for namespaces")
	}
}

// look runs one check.
func look(t *testing.T, name string, f preflight.Facts) []preflight.Finding {
	t.Helper()
	for _, c := range preflight.Checks() {
		if c.Name() == name {
			return c.Run(t.Context(), f)
		}
	}
	t.Fatalf("there is no check %q", name)
	return nil
}

// want is part of what a check should have found, and whether it is a warning.
type want struct {
	part    string
	warning bool
}

func problem(part string) want { return want{part, false} }
func warned(part string) want  { return want{part, true} }

func expect(t *testing.T, got []preflight.Finding, all ...want) {
	t.Helper()
	if len(got) != len(all) {
		t.Errorf("found %d things, want %d: %+v", len(got), len(all), got)
		return
	}
	for i, w := range all {
		if got[i].Warning != w.warning || !strings.Contains(got[i].Message, w.part) {
			t.Errorf("found %+v, want %+v", got[i], w)
		}
	}
}

// tree is a made-up file system; a name that ends in / is a directory.
type tree map[string]string

func (files tree) make(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		dir := path
		if !strings.HasSuffix(name, "/") {
			dir = filepath.Dir(path)
		}
		err := os.MkdirAll(dir, 0o755)
		if err == nil && dir != path {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}
