package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/internal/fault"
)

// logLines is how many lines of a log are worth showing with an error, and logWidth how much of each.
const (
	logLines = 8
	logWidth = 300
)

// The units that may be why a step does not end.
const (
	containerdService = "containerd.service"
	kubeletService    = "kubelet.service"
	balancerService   = "slipway-balancer.service"
)

// Explain adds to the failures of steps of this host the end of the log that says why. Who was interrupted knows why.
func Explain(ctx context.Context, err error) {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTime)
	defer cancel()
	for _, f := range fault.All(err) {
		if f.Step != "" && f.Log == nil {
			f.Log = LogEnd(ctx, f.Step)
		}
	}
}

// logTime is how long that may take.
const logTime = 5 * time.Second

// LogEnd gives the end of the log that says most likely why a step does not end on this host: that of what has ended, the first that
// others need in front, and otherwise of what the step itself waits for. Where no log says more than the error, it gives nothing.
func LogEnd(ctx context.Context, step string) *fault.Log {
	units, names := waitsFor(step)
	if len(units) == 0 {
		return nil
	}
	for _, unit := range units {
		if unitFails(ctx, unit) {
			return journalEnd(ctx, unit)
		}
	}
	var all []cri.Container
	if pods, err := cri.OpenPods(containerdSocket); err == nil {
		defer pods.Close()
		all, _ = pods.Containers(ctx) // without them the kubelet may say why
	}
	if c := choose(all, names); c != nil {
		if lines := endOf(containerText(c.Log)); len(lines) > 0 {
			return &fault.Log{Of: fmt.Sprintf("%s (pod %s)", c.Name, c.Pod), Lines: lines}
		}
	}
	return journalEnd(ctx, units[len(units)-1])
}

// waitsFor gives the units that a step waits for, and the pods, by how their names begin: what is needed by others comes first.
func waitsFor(step string) (units, pods []string) {
	kubelet := []string{containerdService, kubeletService}
	switch {
	case step == "containerd", step == "images", step == "api-images":
		return []string{containerdService}, nil
	case step == "balancer":
		return []string{balancerService}, nil
	case step == "kubelet", step == "mark":
		return kubelet, nil
	case step == "etcd", step == "copied-data":
		return kubelet, []string{"etcd-"}
	case step == "api":
		return kubelet, []string{"etcd-", "kube-apiserver-"}
	case step == "controllers":
		return kubelet, []string{"etcd-", "kube-apiserver-", "kube-controller-manager-", "kube-scheduler-"}
	case step == "node-ready":
		return kubelet, []string{"calico-node-"}
	case step == "virtual-ip-ready":
		return kubelet, []string{"keepalived-"}
	case strings.HasSuffix(step, "-ready"): // an addon
		return kubelet, []string{strings.TrimSuffix(step, "-ready") + "-"}
	}
	return nil, nil
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

// routine is what a component of Kubernetes only informs of.
var routine = regexp.MustCompile(`(?m)^I[0-9]{4} .*\n?`)

func journalEnd(ctx context.Context, unit string) *fault.Log {
	args := []string{"-u", unit, "-n", "200", "-o", "cat", "--no-pager"}
	out, err := exec.CommandContext(ctx, "journalctl", args...).Output()
	text := string(out)
	if urgent := routine.ReplaceAllString(text, ""); strings.TrimSpace(urgent) != "" {
		text = urgent
	}
	if lines := endOf(text); err == nil && len(lines) > 0 {
		return &fault.Log{Of: unit, Lines: lines}
	}
	return nil
}

// klogHead is what a component of Kubernetes puts before what it says: severity, date, time, process and place.
var klogHead = regexp.MustCompile(`^[IWEF][0-9]{4} [0-9:.]+ +[0-9]+ [^ \]]+\] `)

// readable leaves out what only fills the screen: heads, and what etcd writes as JSON, with a trace of the stack.
func readable(line string) string {
	line = klogHead.ReplaceAllString(line, "")
	var entry struct{ Level, Msg, Error string }
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &entry) != nil || entry.Msg == "" {
		return line
	}
	text := strings.TrimSpace(entry.Level + " " + entry.Msg)
	if entry.Error != "" {
		text += ": " + entry.Error
	}
	return text
}

// endOf gives the last lines, each once: what is tried again and again fails again and again.
func endOf(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = readable(strings.ToValidUTF8(strings.TrimSpace(line), "")); line == "" {
			continue
		}
		if len(line) > logWidth {
			line = strings.ToValidUTF8(line[:logWidth], "") + "..."
		}
		out = append(slices.DeleteFunc(out, func(before string) bool { return before == line }), line)
	}
	return out[max(0, len(out)-logLines):]
}
