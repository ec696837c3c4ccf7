package preflight

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/version"

	"slipway.dev/slipway/bootstrap"
)

func root(context.Context, Facts) []Finding {
	if os.Geteuid() == 0 {
		return nil
	}
	return []Finding{problem("this is not run by root; what only root can look at was left out")}
}

// minimumKernel is what kube-proxy asks for in its nftables mode. Kubernetes itself is content with 5.4:
// https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/util/kernel/constants.go
const minimumKernel = "5.13"

func system(ctx context.Context, f Facts) []Finding {
	var out []Finding
	data, err := os.ReadFile(f.path("/proc/sys/kernel/osrelease"))
	release := strings.TrimSpace(string(data))
	if err != nil {
		out = append(out, problem("the kernel's version cannot be read: %v", err))
	} else if !atLeast(release, minimumKernel) {
		out = append(out, problem("the kernel is %s; kube-proxy needs %s or newer", release, minimumKernel))
	}
	if st, err := os.Stat(f.path(bootstrap.Booted)); err != nil || !st.IsDir() {
		return append(out, problem("systemd is not the init system here; the kubelet and containerd run as its units"))
	}
	if _, err := f.activeUnits(ctx, "kubelet.service"); err != nil {
		out = append(out, problem("systemd cannot be reached: %v", err).advise("look why with \"systemctl status\""))
	}
	return out
}

// atLeast takes what it cannot read for too old.
func atLeast(have, want string) bool {
	v, err := version.ParseGeneric(have)
	return err == nil && v.AtLeast(version.MustParseGeneric(want))
}

// Without these the kubelet does not start.
func neededControllers() []string { return []string{"cpu", "cpuset", "memory", "pids"} }

func cgroups(_ context.Context, f Facts) []Finding {
	controllers, v1, err := mountedControllers(f)
	if err != nil {
		return []Finding{problem("it cannot be found out which cgroup controllers are there: %v", err)}
	}
	var out []Finding
	for _, name := range neededControllers() {
		if !slices.Contains(controllers, name) {
			out = append(out, problem("the cgroup controller %q is in no hierarchy that is mounted below /sys/fs/cgroup", name).
				advise("mount it, or enable it on the kernel's command line, for example with cgroup_enable=%s", name))
		}
	}
	if v1 {
		out = append(out, warning("this host uses version 1 of cgroups, which Kubernetes has deprecated and will not support much longer").
			advise("boot with systemd.unified_cgroup_hierarchy=1, or use a newer distribution"))
	}
	return out
}

// mountedControllers are those of all hierarchies: one of version 1 has them as options of its mount, that
// of version 2 in a file.
func mountedControllers(f Facts) (names []string, v1 bool, err error) {
	file, err := os.Open(f.path("/proc/self/mountinfo"))
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	mounts, err := mountinfo.GetMountsFromReader(file, func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, "/sys/fs/cgroup"), false
	})
	if err != nil {
		return nil, false, err
	}
	for _, m := range mounts {
		switch m.FSType {
		case "cgroup":
			options := strings.Split(m.VFSOptions, ",")
			v1 = v1 || slices.ContainsFunc(options, func(o string) bool { return slices.Contains(neededControllers(), o) })
			names = append(names, options...)
		case "cgroup2":
			data, err := os.ReadFile(f.path(filepath.Join(m.Mountpoint, "cgroup.controllers")))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, false, err
			}
			names = append(names, strings.Fields(string(data))...)
		}
	}
	return names, v1, nil
}

// kubeadm asks for 1700 MB on a control plane and says nothing of workers, whose kubelet, containerd and Calico want
// some hundreds: https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/
const (
	megabyte           = 1 << 20
	controlPlaneMemory = 1700 * megabyte
	workerMemory       = 700 * megabyte
)

func memory(_ context.Context, f Facts) []Finding {
	var have uint64
	proc, err := procfs.NewFS(f.path("/proc"))
	if err == nil {
		var info procfs.Meminfo
		if info, err = proc.Meminfo(); err == nil && info.MemTotalBytes == nil {
			err = errors.New("/proc/meminfo does not say it")
		} else if err == nil {
			have = *info.MemTotalBytes
		}
	}
	if err != nil {
		return []Finding{problem("it cannot be found out how much memory there is: %v", err)}
	}
	need, kind := uint64(workerMemory), "worker"
	if f.ControlPlane {
		need, kind = controlPlaneMemory, "control plane"
	}
	if have >= need {
		return nil
	}
	return []Finding{problem("there are %d MB of memory; a %s needs %d MB", have/megabyte, kind, need/megabyte)}
}

const controlPlaneCPUs = 2

func cpus(_ context.Context, f Facts) []Finding {
	if !f.ControlPlane {
		return nil
	}
	var set unix.CPUSet // what this process may use: in a container that can be less than there are
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return []Finding{problem("it cannot be found out how many CPUs there are: %v", err)}
	}
	if n := set.Count(); n < controlPlaneCPUs {
		return []Finding{problem("there are %d CPUs that can be used; a control plane needs %d", n, controlPlaneCPUs)}
	}
	return nil
}

func swap(_ context.Context, f Facts) []Finding {
	if f.AllowSwap {
		return nil
	}
	proc, err := procfs.NewFS(f.path("/proc"))
	if err != nil {
		return []Finding{problem("it cannot be found out whether there is swap: %v", err)}
	}
	swaps, err := proc.Swaps()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the kernel was built without it
	}
	if err != nil {
		return []Finding{problem("it cannot be found out whether there is swap: %v", err)}
	}
	var names []string
	for _, s := range swaps {
		names = append(names, s.Filename)
	}
	if len(names) == 0 {
		return nil
	}
	list := strings.Join(names, ", ")
	if _, err := os.Stat(f.path(bootstrap.Container)); err == nil {
		return []Finding{warning("the host of this container swaps to %s; pods can be slower than their limits let expect", list)}
	}
	return []Finding{problem("this host swaps to %s; the kubelet does not start with that", list)}
}
