package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
)

// filledByOthers are the directories that the container runtime, the kubelet, etcd and the network's pods fill. The audit
// log is not among them: it outlives the node.
func (n *builder) filledByOthers() []string {
	dirs := []string{
		"/run/calico", "/run/nodeagent", bootstrap.SharedPrograms,
		"/var/lib/calico", "/var/lib/cni", "/var/lib/etcd", kubeletDir,
		"/var/log/calico", "/var/log/containers", "/var/log/pods", "/var/lib/kube-proxy",
	}
	if n.Node.UsesRuntime() {
		return dirs // the rest is the administrator's
	}
	dirs = append(dirs, "/opt/containerd", "/run/containerd", "/run/nri", cri.StoreDir)
	if n.Node.Runtime != nil { // whose shims have their sockets and their runc in the same places as ours
		dirs = append(dirs, "/run/containerd/s", "/run/containerd/runc")
	}
	return dirs
}

// Where the container runtime looks for the configuration of pods' networks, and Calico's.
const (
	cniConfigs   = bootstrap.CNIConfigs
	calicoConfig = cniConfigs + "/10-calico.conflist"
	// CalicoKubeconfig is by what its plugin speaks to the API: calico-node writes it.
	CalicoKubeconfig = cniConfigs + "/calico-kubeconfig"
)

// madeByOthers are single files and directories that they make in places where others keep theirs too. Directories go if
// nothing else is in them.
func (n *builder) madeByOthers() (files, dirs []string) {
	files = []string{
		"/run/xtables.lock", // of iptables, which Felix runs
		calicoConfig, CalicoKubeconfig,
	}
	if !n.hasPlugin() {
		files = append(files, bootstrap.CNIPrograms+"/calico", bootstrap.CNIPrograms+"/calico-ipam", bootstrap.CNIPrograms+"/install")
	}
	return files, []string{
		"/lib/modules", // a pod's mount wants it to be there
		"/run/mount", "/run/netns",
	}
}

const kubeletDir = "/var/lib/kubelet"

// directories claims them before anything is in them, so that all of it goes with the node.
func (n *builder) directories(name string, also ...string) engine.Step {
	claimed := append(n.filledByOthers(), also...)
	if n.externalEtcd() { // which may run on this very host
		claimed = slices.DeleteFunc(claimed, func(dir string) bool { return dir == etcdData })
	}
	return engine.Step{
		Name: name,
		Check: func(context.Context) ([]string, error) {
			var change []string
			for _, dir := range n.host.Unclaimed(claimed...) {
				change = append(change, "note what is in "+dir)
			}
			return change, nil
		},
		Do: func(context.Context, func(string)) error {
			if err := n.noteRuntime(name); err != nil {
				return err
			}
			files, dirs := n.madeByOthers()
			return errors.Join(n.host.Keep(name, files...), n.host.KeepDirs(name, dirs...), n.host.Claim(name, claimed...))
		},
	}
}

// notedMounts is the note about the mounts that were private.
const notedMounts = "private-mounts"

// sharedMounts lets pods' mounts be seen by the host (Calico's, and those of storage drivers). systemd does it on
// real hosts, and leaves it alone in containers.
func (n *builder) sharedMounts(name string) engine.Step {
	return engine.Step{
		Name: name,
		Check: func(context.Context) ([]string, error) {
			private, err := privateMounts()
			if err != nil || !slices.Contains(private, "/") {
				return nil, err
			}
			return []string{"share the mounts below /"}, nil
		},
		Do: func(context.Context, func(string)) error {
			before, err := privateMounts()
			if err != nil {
				return err
			}
			if err := n.host.Note(name, notedMounts, strings.Join(before, "\n")); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("share the mounts below /: %w", err)
			}
			return nil
		},
		Undo: func(context.Context) error {
			if before, ok := n.host.Noted(notedMounts); ok {
				return unshareMounts(strings.Split(before, "\n"))
			}
			return nil
		},
	}
}

// privateMounts are those whose mounts below nobody else sees.
func privateMounts() (out []string, err error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	for _, m := range mounts {
		if !strings.Contains(m.Optional, "shared:") {
			out = append(out, m.Mountpoint)
		}
	}
	return out, nil
}

func unshareMounts(mounts []string) error {
	var errs []error
	for _, m := range mounts {
		err := unix.Mount("", m, "", unix.MS_PRIVATE, "")
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // it is no mount any more
			errs = append(errs, fmt.Errorf("make mount %q private again: %w", m, err))
		}
	}
	return errors.Join(errs...)
}

// kernel sets what forwarding for pods needs, now and for the next boot. Kernel modules load by themselves when
// overlay, VXLAN or nftables are used.
func (n *builder) kernel(name string) engine.Step {
	settings := n.sysctls()
	var text strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&text, "%s = %s\n", s.Name, s.Value)
	}
	files := []engine.File{{Path: bootstrap.SysctlFile, Data: []byte(text.String()), Mode: 0o644}}
	return engine.Step{
		Name: name,
		Check: func(context.Context) ([]string, error) {
			return append(engine.DifferingSysctls(settings), engine.Differing(files)...), nil
		},
		Do: func(context.Context, func(string)) error {
			if err := n.noteModules(name); err != nil {
				return err
			}
			if err := n.host.WriteFiles(name, files); err != nil {
				return err
			}
			loadConntrack()
			if err := n.host.KeepSysctls(name, changedByOthers()...); err != nil {
				return err
			}
			return n.host.SetSysctls(name, settings)
		},
		Undo: func(context.Context) error { return n.unloadModules() },
	}
}

func (n *builder) sysctls() []engine.Sysctl {
	settings := []engine.Sysctl{
		{Name: "net.ipv4.ip_forward", Value: "1"},
		// A connection to a service that gets no answer, because a policy forbids it or its pod has just gone, leaves an
		// entry that ties its source port to that pod for as long. The kernel's 120 s outlive the pod; the next
		// connection from that port would then hang although other pods serve.
		{Name: "net.netfilter.nf_conntrack_tcp_timeout_syn_sent", Value: "5"},
	}
	if n.Cluster.IPv6.Pods.IsValid() {
		settings = append(settings, engine.Sysctl{Name: "net.ipv6.conf.all.forwarding", Value: "1"})
	}
	if n.Node.Shared { // the others count for all of the kernel
		return settings
	}
	return append(settings,
		// Every container's log is watched; the default of 128 is gone with a few dozen pods.
		engine.Sysctl{Name: "fs.inotify.max_user_instances", Value: "8192"},
		engine.Sysctl{Name: "fs.inotify.max_user_watches", Value: "524288"},
	)
}

// changedByOthers are the settings that the kubelet and kube-proxy change:
// https://github.com/kubernetes/component-helpers/blob/master/node/util/sysctl/sysctl.go and
// https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/ (KubeProxyConntrackConfiguration)
func changedByOthers() []string {
	return []string{
		"vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops",
		"kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes",
		"net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_tcp_timeout_established",
		"net.netfilter.nf_conntrack_tcp_timeout_close_wait", "net.ipv4.conf.all.route_localnet", "net.ipv6.conf.all.forwarding",
	}
}

// loadConntrack asks for the table of connections, at which the kernel loads the module whose settings are to be made. A
// kernel without connection tracking has none of them, and kube-proxy will say so.
func loadConntrack() {
	_, _ = netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
}

// programs are the components that the node needs: of ForNodes those that are not there otherwise.
func (n *builder) programs() []string {
	out := slices.DeleteFunc(n.bundle.ForNodes(), func(name string) bool {
		return n.Node.UsesRuntime() && (name == "containerd" || name == "runc")
	})
	if n.hasPlugin() {
		out = append(out, images.Plugin)
	}
	return out
}

// binaries puts the programs of the bundle in their places.
func (n *builder) binaries(name string, also []string, needs ...string) engine.Step {
	missing := func() (out []string, err error) {
		for _, c := range append(n.programs(), also...) {
			ok, err := n.bundle.Installed(c, "/")
			if err != nil {
				return nil, err
			}
			if !ok {
				out = append(out, c)
			}
		}
		return out, nil
	}
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) {
			todo, err := missing()
			return each("install ", todo), err
		},
		Do: func(ctx context.Context, progress func(string)) error {
			todo, err := missing()
			if err != nil {
				return err
			}
			keep := func(paths ...string) error { return n.host.Keep(name, paths...) }
			for _, c := range todo {
				progress("install " + c)
				if err := n.host.Claim(name, images.Staging(c, "/")); err != nil {
					return err
				}
				if err := n.bundle.Install(ctx, c, "/", keep); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
