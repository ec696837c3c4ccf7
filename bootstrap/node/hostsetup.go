package node

import (
	"context"
	"fmt"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
)

// sharedMounts lets pods' mounts be seen by the host (Calico's, and those of storage drivers). systemd does it on
// real hosts, and leaves it alone in containers.
func (n *builder) sharedMounts(name string) engine.Step {
	return engine.Step{
		Name: name,
		Check: func(context.Context) ([]string, error) {
			root, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter("/"))
			if err != nil {
				return nil, fmt.Errorf("look at the mount of /: %w", err)
			}
			if len(root) > 0 && strings.Contains(root[len(root)-1].Optional, "shared:") {
				return nil, nil
			}
			return []string{"share the mounts below /"}, nil
		},
		Do: func(context.Context, func(string)) error {
			if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("share the mounts below /: %w", err)
			}
			return nil
		},
	}
}

// kernel sets what forwarding for pods needs, now and for the next boot. Kernel modules load by themselves when
// overlay, VXLAN or nftables are used.
func (n *builder) kernel(name string) engine.Step {
	settings := []engine.Sysctl{
		{Name: "net.ipv4.ip_forward", Value: "1"},
		// A connection to a service that gets no answer, because a policy forbids it or its pod has just gone, leaves an
		// entry that ties its source port to that pod for as long. The kernel's 120 s outlive the pod; the next
		// connection from that port would then hang although other pods serve.
		{Name: "net.netfilter.nf_conntrack_tcp_timeout_syn_sent", Value: "5"},
	}
	if !n.Node.Shared { // these count for all of the kernel
		settings = append(settings,
			// Every container's log is watched; the default of 128 is gone with a few dozen pods.
			engine.Sysctl{Name: "fs.inotify.max_user_instances", Value: "8192"},
			engine.Sysctl{Name: "fs.inotify.max_user_watches", Value: "524288"},
		)
	}
	var text strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&text, "%s = %s\n", s.Name, s.Value)
	}
	files := []engine.File{{Path: "/etc/sysctl.d/90-slipway.conf", Data: []byte(text.String()), Mode: 0o644}}
	return engine.Step{
		Name: name,
		Check: func(context.Context) ([]string, error) {
			return append(engine.DifferingSysctls(settings), engine.Differing(files)...), nil
		},
		Do: func(context.Context, func(string)) error {
			if err := n.host.WriteFiles(name, files); err != nil {
				return err
			}
			loadConntrack()
			return n.host.SetSysctls(name, settings)
		},
	}
}

// loadConntrack asks for the table of connections, at which the kernel loads the module whose settings are to be made. A
// kernel without connection tracking has none of them, and kube-proxy will say so.
func loadConntrack() {
	_, _ = netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
}

// binaries puts the programs of the bundle in their places.
func (n *builder) binaries(name string) engine.Step {
	missing := func() (out []string, err error) {
		for _, c := range n.bundle.Components() {
			if c.Kind != images.KindFiles {
				continue
			}
			ok, err := n.bundle.Installed(c.Name, "/")
			if err != nil {
				return nil, err
			}
			if !ok {
				out = append(out, c.Name)
			}
		}
		return out, nil
	}
	return engine.Step{
		Name:  name,
		Check: func(context.Context) ([]string, error) { return missing() },
		Do: func(ctx context.Context, progress func(string)) error {
			todo, err := missing()
			if err != nil {
				return err
			}
			for _, c := range todo {
				progress("install " + c)
				if err := n.bundle.Extract(ctx, c, "/"); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
