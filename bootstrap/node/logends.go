package node

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"

	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/internal/fault"
)

// logLines is how many lines of a log are worth showing with an error, and logWidth how much of each.
const (
	logLines = 8
	logWidth = 400
)

// LogEnd gives the end of the log that says most likely why a step does not end on this host, or nothing: that of what has ended,
// the first that others need in front, and otherwise of what the step waits for.
func LogEnd(ctx context.Context, step string) *fault.Log {
	for _, unit := range []string{"containerd.service", "kubelet.service"} {
		if unitFails(ctx, unit) {
			return journalEnd(ctx, unit)
		}
	}
	var all []cri.Container
	if pods, err := cri.OpenPods(containerdSocket); err == nil {
		defer pods.Close()
		all, _ = pods.Containers(ctx) // without them the kubelet may say why
	}
	names, last := waitsFor(step)
	if c := choose(all, names); c != nil {
		if lines := endOf(containerText(c.Log)); len(lines) > 0 {
			return &fault.Log{Of: fmt.Sprintf("%s (pod %s)", c.Name, c.Pod), Lines: lines}
		}
	}
	return journalEnd(ctx, last)
}

// waitsFor gives the pods, by how their names begin, whose containers a step waits for, and the unit that otherwise knows most.
func waitsFor(step string) (pods []string, unit string) {
	switch {
	case step == "containerd", strings.HasSuffix(step, "images"):
		return nil, "containerd.service"
	case step == "balancer":
		return nil, "slipway-balancer.service"
	case step == "etcd":
		return []string{"etcd-"}, "kubelet.service"
	case step == "api":
		return []string{"etcd-", "kube-apiserver-"}, "kubelet.service"
	case step == "controllers":
		return []string{"etcd-", "kube-apiserver-", "kube-controller-manager-", "kube-scheduler-"}, "kubelet.service"
	case step == "node-ready":
		return []string{"calico-node-"}, "kubelet.service"
	case strings.HasSuffix(step, "-ready"):
		return []string{strings.TrimSuffix(step, "-ready") + "-"}, "kubelet.service"
	}
	return nil, "kubelet.service"
}

// choose gives the first container of these pods that has ended, or else the last of those that run.
func choose(all []cri.Container, pods []string) (last *cri.Container) {
	for _, prefix := range pods {
		for i, c := range all {
			if !strings.HasPrefix(c.Pod, prefix) {
				continue
			}
			last = &all[i]
			if c.Ended {
				return last
			}
		}
	}
	return last
}

// unitFails tells whether a unit of systemd ends, and is started again or not any more.
func unitFails(ctx context.Context, unit string) bool {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return false
	}
	defer c.Close()
	p, err := c.GetAllPropertiesContext(ctx, unit)
	if err != nil || p["LoadState"] != "loaded" {
		return false
	}
	restarts, _ := p["NRestarts"].(uint32)
	result, _ := p["Result"].(string)
	return restarts > 0 || result != "success"
}

func journalEnd(ctx context.Context, unit string) *fault.Log {
	args := []string{"-u", unit, "_SYSTEMD_UNIT=" + unit, "-n", "50", "-o", "cat", "--no-pager"}
	out, err := exec.CommandContext(ctx, "journalctl", args...).Output()
	if lines := endOf(string(out)); err == nil && len(lines) > 0 {
		return &fault.Log{Of: unit, Lines: lines}
	}
	return nil
}

func endOf(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = string(bytes.ToValidUTF8([]byte(strings.TrimSpace(line)), nil)); line == "" {
			continue
		}
		if len(line) > logWidth {
			line = strings.ToValidUTF8(line[:logWidth], "") + "..."
		}
		out = append(out, line)
	}
	return out[max(0, len(out)-logLines):]
}
