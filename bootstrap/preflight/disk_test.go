package preflight_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/preflight"
)

func TestDisk(t *testing.T) {
	root := t.TempDir()
	f := preflight.Facts{Root: root, StateDir: "/var/lib/slipway", DiskNeeded: 1}
	expect(t, look(t, "disk", f))
	f.DiskNeeded = math.MaxInt64
	expect(t, look(t, "disk", f), problem(`"/var/lib/slipway"`)) // both are on one file system
}

func TestDiskOfContainerd(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	small := filepath.Join(root, "var/lib/containerd")
	if err := os.MkdirAll(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("test", small, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	f := preflight.Facts{Root: root, StateDir: "/var/lib/slipway", DiskNeeded: 3 << 20}
	expect(t, look(t, "disk", f), problem(`2 MB free for "/var/lib/containerd"; 3 MB are needed`))
}

func TestSyncLatency(t *testing.T) {
	dir := t.TempDir()
	took, err := preflight.SyncLatency(t.Context(), dir, 3)
	if err != nil || took <= 0 {
		t.Errorf("%s, %v", took, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
	if _, err := preflight.SyncLatency(t.Context(), filepath.Join(dir, "missing"), 3); err == nil {
		t.Error("a directory that is not there was measured")
	}
}

// TestSyncLatencyOfFullDisk fails while it measures.
func TestSyncLatencyOfFullDisk(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("test", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if took, err := preflight.SyncLatency(t.Context(), dir, 3); err == nil {
		t.Errorf("a full disk took %s", took)
	}
}

func TestEtcdDisk(t *testing.T) {
	root := tree{"var/lib/": ""}.make(t)
	// What is found depends on the disk, but it is on etcd's.
	for _, found := range look(t, "etcd-disk", preflight.Facts{Root: root, EtcdDir: "/var/lib/etcd", ControlPlane: true}) {
		t.Log(found.Message)
	}
	if left, err := os.ReadDir(filepath.Join(root, "var/lib")); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
	for took, want := range map[time.Duration][]want{
		time.Millisecond:                       nil,
		10 * time.Millisecond:                  nil,
		10*time.Millisecond + time.Microsecond: {warned("10ms")},
		100 * time.Millisecond:                 {warned("100ms")},
		101 * time.Millisecond:                 {problem("101ms")},
	} {
		expect(t, preflight.JudgeLatency("/d", took), want...)
	}
	if found := look(t, "etcd-disk", preflight.Facts{EtcdDir: "/proc"}); found != nil {
		t.Errorf("on a worker: %v", found)
	}
	expect(t, look(t, "etcd-disk", preflight.Facts{EtcdDir: "/proc", ControlPlane: true}), problem(`"/proc"`))
}
