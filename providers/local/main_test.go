package local_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the process that TestMain has put into namespaces of its own.
const inside = "SLIPWAY_TEST_INSIDE"

// TestMain runs all tests in a network namespace of their own, where bridges, addresses and
// routes hurt nobody, and in a mount namespace whose / is shared, as systemd makes it: mounts of
// a machine must not come back there. Both go with this process.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // the namespaces are the thread's, and exec keeps the thread's
	err := enter()
	fmt.Fprintln(os.Stderr, "enter the namespaces of the tests:", err)
	os.Exit(1)
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
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), inside+"=1"))
}

var _ = context.Background
