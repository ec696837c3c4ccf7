package local

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// notifyTarget is where the machine finds the socket on which its systemd says that it is up.
	notifyTarget = "/run/host/notify"
	// openFiles is the hard limit that services may raise theirs to, as on a server.
	openFiles = 1048576
)

// writeConfig writes the runtime specification that runc starts the machine by.
func (p *Provider) writeConfig(s *machineState) error {
	spec, err := p.runtimeSpec(s.Spec)
	if err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.home(s.Spec).bundle(), "config.json"), data, 0o600)
}

func (p *Provider) runtimeSpec(s MachineSpec) (*specs.Spec, error) {
	process, err := rootProcess("/sbin/init")
	if err != nil {
		return nil, err
	}
	// systemd learns from "container" that it is in one, and from the socket whom to tell that it is up.
	process.Env = append(process.Env, "container=slipway", "NOTIFY_SOCKET="+notifyTarget)
	h := p.home(s)
	return &specs.Spec{
		Version:  "1.2.0",
		Hostname: s.Name,
		Process:  process,
		Root:     &specs.Root{Path: h.root()},
		Mounts:   append(systemMounts(), ownMounts(h, s)...),
		Linux: &specs.Linux{
			Namespaces:        namespaces(machineID(s.Cluster, s.Name)),
			CgroupsPath:       cgroupPath(s.Cluster, s.Name),
			Resources:         s.resources(),
			RootfsPropagation: "rshared", // kubelet's and CNI's mounts must be seen by the pods that ask for it
		},
	}, nil
}

// cpuPeriod is in how many microseconds the time of processors is counted; it is the kernel's own default.
const cpuPeriod uint64 = 100_000

func (l Limits) resources() *specs.LinuxResources {
	r := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
	if l.CPUs > 0 {
		period, quota := cpuPeriod, int64(l.CPUs*float64(cpuPeriod))
		r.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	if l.Memory > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &l.Memory}
	}
	return r
}

// rootProcess is a process with all that this process may do itself.
func rootProcess(args ...string) (*specs.Process, error) {
	caps, err := ownCapabilities()
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Args:         args,
		Cwd:          "/",
		Env:          []string{searchPath},
		Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
	}
	if slices.Contains(caps, "CAP_SYS_RESOURCE") {
		p.Rlimits = raisedLimits()
	}
	return p, nil
}

func raisedLimits() []specs.POSIXRlimit {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil || now.Max >= openFiles {
		return nil
	}
	return []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: openFiles}}
}

func namespaces(id string) []specs.LinuxNamespace {
	return []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.CgroupNamespace},
		{Type: specs.NetworkNamespace, Path: netnsPath(id)},
	}
}

func systemMounts() []specs.Mount {
	mount := func(target, kind, source string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: kind, Source: source, Options: options}
	}
	return []specs.Mount{
		mount("/proc", "proc", "proc"),
		mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755"),
		mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		mount("/dev/shm", "tmpfs", "shm", "nosuid", "nodev", "mode=1777"),
		mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "nodev", "noexec"),
		mount("/sys", "sysfs", "sysfs", "nosuid", "nodev", "noexec", "rw"),
		mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "nodev", "noexec", "rw", "relatime"),
		mount("/run", "tmpfs", "tmpfs", "nosuid", "nodev", "mode=755"),
		mount("/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777"),
	}
}

func ownMounts(h home, s MachineSpec) []specs.Mount {
	mounts := []specs.Mount{bind(filepath.Join(h.bundle(), notifyName), notifyTarget, false)}
	if _, err := os.Stat("/dev/kmsg"); err == nil { // kubelet's OOM watcher reads it
		mounts = append(mounts, bind("/dev/kmsg", "/dev/kmsg", false))
	}
	for _, b := range s.Binds {
		mounts = append(mounts, bind(h.bindSource(b), b.Target, b.ReadOnly))
	}
	return mounts
}

// bind makes each mount private first; the machine's own propagation is set on all of them
// afterwards, which then begins a new group instead of joining this computer's.
func bind(source, target string, readOnly bool) specs.Mount {
	options := []string{"rbind", "rprivate", "rw"}
	if readOnly {
		options[2] = "rro" // with what is mounted below it
	}
	return specs.Mount{Destination: target, Type: "bind", Source: source, Options: options}
}
