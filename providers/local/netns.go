package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where ip(8) looks for names.
const netnsDir = "/run/netns"

func netnsPath(id string) string { return filepath.Join(netnsDir, id) }

// inNetns runs f on a thread that has been moved by enter. f must not start goroutines that rely
// on the namespace. A thread that cannot be moved back ends with its goroutine, as it stays
// locked to it: nothing else can ever run in the wrong namespace.
func inNetns(enter func() error, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer home.Close()
		if err = enter(); err != nil {
			err = fmt.Errorf("enter network namespace: %w", err)
		} else {
			err = f()
		}
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func enterNew() error { return unix.Unshare(unix.CLONE_NEWNET) }

func enterNamed(id string) func() error {
	return func() error {
		ns, err := netns.GetFromPath(netnsPath(id))
		if err != nil {
			return err
		}
		defer ns.Close()
		return netns.Set(ns)
	}
}

// addNetns makes a network namespace and gives it a name.
func addNetns(id string) error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(netnsPath(id), os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	_ = f.Close()
	err = inNetns(enterNew, func() error {
		if err := unix.Mount("/proc/thread-self/ns/net", netnsPath(id), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		return loopbackUp()
	})
	if err != nil {
		return fmt.Errorf("make network namespace %q: %w", id, err)
	}
	return nil
}

// removeNetns takes the name away; the namespace goes with its last process.
func removeNetns(id string) error {
	path := netnsPath(id)
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // nothing (more) mounted there
		}
		if err != nil {
			return fmt.Errorf("unmount network namespace %q: %w", id, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	return netlink.LinkSetUp(lo)
}
