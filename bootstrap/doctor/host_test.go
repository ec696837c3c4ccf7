package doctor_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/doctor"
	"slipway.dev/slipway/internal/testenv"
)

func newWorker(t *testing.T) root {
	t.Helper()
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), worker(), true)
	return r
}

func TestKernel(t *testing.T) {
	const forward = "/proc/sys/net/ipv4/ip_forward"
	r := newWorker(t)
	r.write(t, forward, "1\n")
	expect(t, r.examine(t, "kernel"), fine("1 settings"))
	r.write(t, "/etc/sysctl.d/90-slipway.conf", "net.ipv4.ip_forward = 1\nfs.inotify.max_user_watches = 524288\nnot.there = 1\n")
	r.write(t, "/proc/sys/fs/inotify/max_user_watches", "524288\n")
	expect(t, r.examine(t, "kernel"), fine("3 settings"))
	r.write(t, forward, "0\n")
	r.write(t, "/proc/sys/fs/inotify/max_user_watches", "128\n")
	expect(t, r.examine(t, "kernel"), warned("max_user_watches is 128, not 524288"), problem("ip_forward is 0, not 1"))
}

func TestSwap(t *testing.T) {
	r := newWorker(t)
	r.write(t, "/proc/swaps", "Filename Type Size Used Priority\n")
	expect(t, r.examine(t, "kernel"), fine())
	r.write(t, "/proc/swaps", "Filename Type Size Used Priority\n/dev/sdx2 partition 1 0 -2\n")
	expect(t, r.examine(t, "kernel"), problem("/dev/sdx2", "swapoff"))
	r.write(t, "/var/lib/kubelet/config.yaml", "failSwapOn: false\n")
	expect(t, r.examine(t, "kernel"), fine())
}

func TestRoom(t *testing.T) {
	const gb = 1 << 30
	for name, tt := range map[string]struct {
		free, size, inodes uint64
		evicts             bool
		want               want
	}{
		"much":               {50 * gb, 100 * gb, 90, true, fine("50 %")},
		"images are removed": {14 * gb, 100 * gb, 90, true, warned("14 %", "removes images")},
		"pods are evicted":   {9 * gb, 100 * gb, 90, true, problem("9 %", "evicts")},
		"shared":             {9 * gb, 100 * gb, 90, false, fine("9 %")},
		"nearly nothing":     {gb / 4, 100 * gb, 90, false, problem("256 MB")},
		"no inodes":          {50 * gb, 100 * gb, 4, true, problem("4 more files")},
		"no inodes to count": {50 * gb, 100 * gb, 0, true, fine()},
	} {
		t.Run(name, func(t *testing.T) {
			all := uint64(100)
			if tt.inodes == 0 {
				all = 0
			}
			expect(t, []doctor.Finding{doctor.JudgeRoom(tt.free, tt.size, tt.inodes, all, tt.evicts)}, tt.want)
		})
	}
}

// TestDisk has two directories on one file system, which is told of once.
func TestDisk(t *testing.T) {
	r := newWorker(t)
	if found := r.examine(t, "disk"); len(found) != 0 {
		t.Errorf("found %+v", found)
	}
	r.write(t, "/var/lib/containerd/x", "")
	r.write(t, "/var/lib/kubelet/x", "")
	if found := r.examine(t, "disk"); len(found) != 1 {
		t.Errorf("found %+v", found)
	}
}

func TestMemory(t *testing.T) {
	r := newWorker(t)
	expect(t, r.examine(t, "memory"), warned("cannot be found out"))
	r.write(t, "/proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 2000000 kB\n")
	expect(t, r.examine(t, "memory"), fine("1953 MB of 3906 MB"))
	r.write(t, "/proc/pressure/memory", "some avg10=50.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=40.00 avg60=0.00 avg300=0.00 total=0\n")
	expect(t, r.examine(t, "memory"), fine(), warned("40 %"))
	r.remove(t, "/proc/pressure")
	r.write(t, "/proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 190000 kB\n")
	expect(t, r.examine(t, "memory"), warned("185 MB"))
	r.write(t, "/proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 90000 kB\n")
	expect(t, r.examine(t, "memory"), problem("87 MB"))
}

func TestCNI(t *testing.T) {
	r := newWorker(t)
	r.write(t, "/etc/cni/net.d/calico-kubeconfig", "")
	expect(t, r.examine(t, "cni"), problem("no network", "writes a file"))
	c := theCluster("127.0.0.1:1")
	c.NoCNI = true
	r.save(t, c, worker(), true)
	expect(t, r.examine(t, "cni"), problem("--cni none", "of your own"))
	r.write(t, "/etc/cni/net.d/05-other.conflist", "{}")
	expect(t, r.examine(t, "cni"), fine("05-other.conflist"))
}

// TestCalicoLink has a network namespace of its own, which goes with its thread.
func TestCalicoLink(t *testing.T) {
	if os.Geteuid() != 0 {
		testenv.Lacks(t, "this needs root, for namespaces")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		r := newWorker(t)
		r.write(t, "/etc/cni/net.d/10-calico.conflist", "{}")
		expect(t, r.examine(t, "cni"), fine("10-calico"), problem("vxlan.calico is not there", "calico-node"))
		link := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan.calico"}, VxlanId: 1, Port: 4789}
		if err := netlink.LinkAdd(link); err != nil {
			t.Error(err)
			return
		}
		expect(t, r.examine(t, "cni"), fine("10-calico"), problem("is down", "ip link set vxlan.calico up"))
		if err := netlink.LinkSetUp(link); err != nil {
			t.Error(err)
		}
		expect(t, r.examine(t, "cni"), fine("10-calico"), fine("vxlan.calico is there"))
		c := theCluster("127.0.0.1:1")
		c.Kubeadm = true // its Calico may have another tunnel
		r.save(t, c, worker(), true)
		expect(t, r.examine(t, "cni"), fine("10-calico"))
	}()
	<-done
}
