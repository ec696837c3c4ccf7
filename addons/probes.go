package addons

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Felix serves its health on the node's loopback; kubelet asks from the same network namespace.
const (
	felixHealthHost = "127.0.0.1"
	felixHealthPort = 9099
)

// calicoNodeProbes asks Felix itself, where upstream starts a program of a hundred megabytes in the
// container that asks Felix. So it costs little to ask each second: upstream's first probe comes too early and
// the next 10 s later, and a kubelet that has just started delays a probe by up to its period.
func calicoNodeProbes(_ Config, pod *corev1.PodSpec) error {
	c, err := container(pod, calicoNode)
	if err != nil {
		return err
	}
	if c.ReadinessProbe == nil || c.LivenessProbe == nil {
		return fmt.Errorf("container %q: its probes are not in the manifest", c.Name)
	}
	c.ReadinessProbe.ProbeHandler = felixProbe("/readiness")
	everySecond(c.ReadinessProbe)
	c.LivenessProbe.ProbeHandler = felixProbe("/liveness")
	return nil
}

func felixProbe(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
		Host: felixHealthHost, Port: intstr.FromInt32(felixHealthPort), Path: path,
	}}
}

// everySecond keeps the time that something must be unhealthy before it counts as unready, and
// shortens the time until it counts as ready.
func everySecond(p *corev1.Probe) {
	period, failures := p.PeriodSeconds, p.FailureThreshold
	if period == 0 {
		period = 10 // the API's default
	}
	if failures == 0 {
		failures = 3 // the API's default
	}
	p.InitialDelaySeconds, p.PeriodSeconds = 0, 1
	p.FailureThreshold = period * failures
}

// quickStart finds out each second that a container has become ready for the first time. It is for
// probes that cost a process each time: from then on they are asked at upstream's pace.
func quickStart(pod *corev1.PodSpec, name string) error {
	c, err := container(pod, name)
	if err != nil {
		return err
	}
	if c.ReadinessProbe == nil {
		return fmt.Errorf("container %q: its readiness probe is not in the manifest", c.Name)
	}
	// Upstream leaves this at one second, which starting a process can take on a busy machine.
	c.ReadinessProbe.TimeoutSeconds = 10
	c.StartupProbe = c.ReadinessProbe.DeepCopy()
	c.StartupProbe.PeriodSeconds = 1
	// Five minutes: who waits for an API server is not sick, and a restart would not help.
	c.StartupProbe.FailureThreshold = 300
	// A kubelet that was started within this time delays the first one by up to as long, also after the container has started. At a
	// boot it learns of its pods after three seconds.
	c.ReadinessProbe.PeriodSeconds = 3
	return nil
}
