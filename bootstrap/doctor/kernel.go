package doctor

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
	kubelet "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/bootstrap"
)

// kernel compares the settings with what they were set to, and looks for swap that came back.
func kernel(_ context.Context, h *Host) []Finding {
	want := map[string]string{"net.ipv4.ip_forward": "1"} // without slipway too
	if data, err := os.ReadFile(h.path(bootstrap.SysctlFile)); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, "="); ok {
				want[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
	}
	var out []Finding
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value := want[name]
		data, err := os.ReadFile(h.path("/proc/sys/" + strings.ReplaceAll(name, ".", "/")))
		if is := strings.TrimSpace(string(data)); err == nil && is != value {
			out = append(out, changed(name, is, value))
		}
	}
	out = append(out, h.swap()...)
	if len(out) == 0 {
		return []Finding{ok("%d settings are as they must be, and there is no swap that matters", len(want))}
	}
	return out
}

func changed(name, is, value string) Finding {
	if name == "net.ipv4.ip_forward" {
		return problem("%s is %s, not %s", name, is, value).why("this host does not pass on what pods send")
	}
	return warning("%s is %s, not %s", name, is, value).why("somebody has changed it since this host became a node")
}

func (h *Host) swap() []Finding {
	if c := h.kubeletConfiguration(); c.FailSwapOn != nil && !*c.FailSwapOn {
		return nil // the kubelet lives with it
	}
	proc, err := procfs.NewFS(h.path("/proc"))
	if err != nil {
		return nil
	}
	swaps, err := proc.Swaps()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return []Finding{warning("it cannot be found out whether there is swap").because(err)}
	}
	var names []string
	for _, s := range swaps {
		names = append(names, s.Filename)
	}
	if len(names) == 0 {
		return nil
	}
	return []Finding{problem("this host swaps to %s", strings.Join(names, ", ")).why("the kubelet will not start with that again").
		advise("turn it off with `swapoff -a`, and take it out of /etc/fstab")}
}

// kubeletConfiguration is the kubelet's own; the zero value where it cannot be read.
func (h *Host) kubeletConfiguration() kubelet.KubeletConfiguration {
	var c kubelet.KubeletConfiguration
	data, err := os.ReadFile(h.path("/var/lib/kubelet/config.yaml"))
	if err == nil {
		_ = yaml.Unmarshal(data, &c) // the kubelet says so itself
	}
	return c
}
