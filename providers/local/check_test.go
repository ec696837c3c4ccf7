package local_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/providers/local"
)

func TestCheck(t *testing.T) {
	if os.Getuid() != 0 {
		wantFault(t, local.New(local.Config{StateDir: t.TempDir()}).Check(t.Context()), "not-root")
		return
	}
	h := newProvider(t, "none")
	before := takeTraces(t, h)
	if err := h.Check(t.Context()); err != nil {
		t.Errorf("this computer: %v", err)
	}
	before.compare(t, takeTraces(t, h))
}

func TestCheckStateOnOverlay(t *testing.T) {
	h := needNetwork(t)
	dir := filepath.Dir(h.config.StateDir)
	for _, d := range []string{"lower", "upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(dir, "root")
	options := "lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	if err := unix.Mount("test", root, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	config := h.config
	config.StateDir = filepath.Join(root, "not/yet/there")
	wantFault(t, local.New(config).Check(t.Context()), "state-dir-unsuitable")
	if left := entries(root); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}
