package preflight_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/preflight"
)

// kernelTree is below /var/tmp: where other temporary files are may not be able to hold an overlay's upper directory.
func kernelTree(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("/var/tmp", "slipway-preflight-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	for _, dir := range []string{"var/lib", "proc/sys/net/bridge"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestKernel tries everything on this computer, which other tests need to have it too, and sees that nothing is left.
func TestKernel(t *testing.T) {
	needRoot(t)
	root := kernelTree(t)
	before := namespaces(t)
	for range 20 { // on whatever threads
		expect(t, look(t, "kernel", preflight.Facts{Root: root}))
	}
	if after := namespaces(t); after != before {
		t.Errorf("the process is in the namespaces %s, was in %s", after, before)
	}
	if left, err := os.ReadDir(filepath.Join(root, "var/lib")); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
	links, err := netlink.LinkList()
	for _, l := range links {
		if l.Type() == "veth" || l.Type() == "vxlan" {
			t.Errorf("link %q is left", l.Attrs().Name)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// namespaces are those of the process, which are its main thread's.
func namespaces(t *testing.T) string {
	t.Helper()
	var out string
	for _, kind := range []string{"net", "mnt"} {
		name, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		out += name
	}
	return out
}

// TestKernelOnOverlay has containerd's directory where the kernel refuses an overlay.
func TestKernelOnOverlay(t *testing.T) {
	needRoot(t)
	root := kernelTree(t)
	base := kernelTree(t)
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(root, "var/lib")
	if err := unix.Mount("test", merged, "overlay", 0, "lowerdir="+base+"/lower,upperdir="+base+"/upper,workdir="+base+"/work"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(merged, 0); err != nil {
			t.Error(err)
		}
	})
	expect(t, look(t, "kernel", preflight.Facts{Root: root}), problem("overlay file systems"))
	if left, err := os.ReadDir(merged); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
}
