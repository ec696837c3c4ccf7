package preflight_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/preflight"
)

// onThread runs do on a thread that ends with it, as the main thread would not.
func onThread(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			onThread(t, do)
			return
		}
		do()
	}()
	<-done
}

// setThreadUser changes the user of this thread only, other than the library's calls.
func setThreadUser(t *testing.T, uid uintptr) {
	t.Helper()
	none := ^uintptr(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, none, uid, none); errno != 0 {
		t.Errorf("change the thread's user: %v", errno)
	}
}

func TestSystem(t *testing.T) {
	good := func() tree { return tree{"run/systemd/system/": "", "proc/sys/kernel/osrelease": "6.1.0-37-amd64\n"} }
	unreachable := func(context.Context, ...string) ([]string, error) { return nil, errors.New("no answer") }
	for name, c := range map[string]struct {
		edit  func(tree)
		units func(context.Context, ...string) ([]string, error)
		want  []want
	}{
		"good":        {units: units()},
		"just enough": {units: units(), edit: func(f tree) { f["proc/sys/kernel/osrelease"] = "5.13.0\n" }},
		"old kernel": {units: units(), edit: func(f tree) { f["proc/sys/kernel/osrelease"] = "5.4.0-150-generic\n" },
			want: []want{problem("5.4.0-150-generic")}},
		"no systemd": {units: unreachable, edit: func(f tree) { delete(f, "run/systemd/system/") },
			want: []want{problem("not the init system")}},
		"mute systemd": {units: unreachable, want: []want{problem("no answer")}},
	} {
		t.Run(name, func(t *testing.T) {
			files := good()
			if c.edit != nil {
				c.edit(files)
			}
			expect(t, look(t, "os", preflight.Facts{Root: files.make(t), ActiveUnits: c.units}), c.want...)
		})
	}
}

const (
	v1Mounts = `30 20 0:26 / /sys/fs/cgroup rw shared:4 - tmpfs none rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup none rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/cpuset rw shared:6 - cgroup none rw,cpuset
33 30 0:29 / /sys/fs/cgroup/memory rw shared:7 - cgroup none rw,memory
34 30 0:30 / /sys/fs/cgroup/pids rw shared:8 - cgroup none rw,pids
`
	v2Mounts     = "30 20 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 none rw,nsdelegate\n"
	hybridMounts = `30 20 0:26 / /sys/fs/cgroup rw shared:4 - tmpfs none rw,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw shared:5 - cgroup none rw,name=systemd
32 30 0:28 / /sys/fs/cgroup/unified rw shared:6 - cgroup2 none rw
`
)

func TestCgroups(t *testing.T) {
	for name, c := range map[string]struct {
		files tree
		want  []want
	}{
		"version 1": {tree{"proc/self/mountinfo": v1Mounts}, []want{warned("version 1")}},
		"version 2": {tree{"proc/self/mountinfo": v2Mounts, "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n"}, nil},
		"systemd's own of version 1": {
			tree{"proc/self/mountinfo": hybridMounts, "sys/fs/cgroup/unified/cgroup.controllers": "cpuset cpu memory pids\n"}, nil},
		"no memory": {tree{"proc/self/mountinfo": v2Mounts, "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n"},
			[]want{problem(`"memory"`)}},
		"none":    {tree{"proc/self/mountinfo": ""}, []want{problem(`"cpu"`), problem(`"cpuset"`), problem(`"memory"`), problem(`"pids"`)}},
		"no proc": {tree{}, []want{problem("cannot be found out")}},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, look(t, "cgroups", preflight.Facts{Root: c.files.make(t)}), c.want...)
		})
	}
}

func TestMemory(t *testing.T) {
	for name, c := range map[string]struct {
		text         string
		controlPlane bool
		want         []want
	}{
		"control plane":           {"MemTotal:        1740800 kB\n", true, nil},
		"small control plane":     {"MemTotal:        1740799 kB\n", true, []want{problem("1699 MB of memory; a control plane needs 1700 MB")}},
		"worker":                  {"MemTotal:         716800 kB\n", false, nil},
		"small worker":            {"MemTotal:         716799 kB\n", false, []want{problem("a worker needs 700 MB")}},
		"something else is there": {"MemFree: 9999999 kB\n", false, []want{problem("does not say it")}},
	} {
		t.Run(name, func(t *testing.T) {
			f := preflight.Facts{Root: tree{"proc/meminfo": c.text}.make(t), ControlPlane: c.controlPlane}
			expect(t, look(t, "memory", f), c.want...)
		})
	}
}

// TestCPUs takes CPUs away from a thread.
func TestCPUs(t *testing.T) {
	onThread(t, func() {
		var one unix.CPUSet
		var all unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			t.Error(err)
		}
		for i := range 1024 {
			if all.IsSet(i) {
				one.Set(i)
				break
			}
		}
		if all.Count() > 1 {
			expect(t, look(t, "cpu", preflight.Facts{ControlPlane: true}))
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			t.Error(err)
		}
		expect(t, look(t, "cpu", preflight.Facts{ControlPlane: true}), problem("1 CPUs"))
		expect(t, look(t, "cpu", preflight.Facts{}))
	})
}

func TestSwap(t *testing.T) {
	const header = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	const used = header + "/dev/sda2                               partition\t1048572\t0\t-2\n"
	for name, c := range map[string]struct {
		files tree
		allow bool
		want  []want
	}{
		"none":         {tree{"proc/swaps": header}, false, nil},
		"one":          {tree{"proc/swaps": used}, false, []want{problem("/dev/sda2")}},
		"allowed":      {tree{"proc/swaps": used}, true, nil},
		"container":    {tree{"proc/swaps": used, "run/systemd/container": "oci"}, false, []want{warned("/dev/sda2")}},
		"not built in": {tree{"proc/": ""}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, look(t, "swap", preflight.Facts{Root: c.files.make(t), AllowSwap: c.allow}), c.want...)
		})
	}
}
