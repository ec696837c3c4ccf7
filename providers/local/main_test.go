package local_test

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside marks the process that TestMain has put into namespaces of its own.
const inside = "SLIPWAY_TEST_INSIDE"

// TestMain runs all tests in a network namespace of their own, where bridges, addresses and
// routes hurt nobody, and in a mount namespace whose / is shared, as systemd makes it: mounts of
// a machine must not come back there. Both go with this process.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(inside) == "" {
		runtime.LockOSThread() // the namespaces are the thread's, and exec keeps the thread's
		fmt.Fprintln(os.Stderr, "enter the namespaces of the tests:", enter())
		os.Exit(1)
	}
	if spec := os.Getenv(createAndDie); spec != "" {
		os.Exit(createFor(spec))
	}
	os.Exit(runWithScratch(m))
}

// scratch names a directory for what all tests share.
const scratch = "SLIPWAY_TEST_SCRATCH"

func runWithScratch(m *testing.M) int {
	// Not os.TempDir, whose file system may be one that cannot hold an overlay's upper directory.
	dir, err := os.MkdirTemp("/var/tmp", "slipway-local-bundle-*")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Setenv(scratch, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return err
	}
	for _, flag := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|flag, ""); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), inside+"=1"))
}
