package addons

import (
	_ "embed"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

var (
	//go:embed manifests/controllers.yaml
	controllersManifest []byte
	//go:embed manifests/approver.yaml
	approverManifest []byte
	//go:embed manifests/service-ip.yaml
	serviceIPManifest []byte
)

// controller is one of Slipway's own, with the flags that have it run, and what it needs beside.
type controller struct {
	manifest []byte
	flags    []string
}

// controllersOf are those that the cluster is to have.
func controllersOf(cfg Config) []controller {
	var out []controller
	if cfg.Approver {
		c := controller{approverManifest, []string{"--approve", "--endpoint=" + cfg.DirectHost}}
		if cfg.VirtualIP.IsValid() {
			c.flags = append(c.flags, "--endpoint="+cfg.VirtualIP.String())
		}
		out = append(out, c)
	}
	if cfg.LoadBalancers.IsValid() {
		out = append(out, controller{serviceIPManifest, []string{"--service-addresses=" + cfg.LoadBalancers.String()}})
	}
	return out
}

// ownControllers run in one pod on the control planes that Slipway made: they have its program, which the pause image is only the
// wrapping of. Others have no load balancer on their loopback, and no program.
func ownControllers(cfg Config, _ Manifests) (Addon, error) {
	const name = "slipway-controllers"
	set, err := decode(controllersManifest)
	if err != nil {
		return Addon{}, err
	}
	image, err := cfg.image("pause")
	if err != nil {
		return Addon{}, err
	}
	var flags []string
	for _, c := range controllersOf(cfg) {
		more, err := decode(c.manifest)
		if err != nil {
			return Addon{}, err
		}
		set, flags = append(set, more...), append(flags, c.flags...)
	}
	err = edit(set, "DaemonSet", name, func(d *appsv1.DaemonSet) error {
		pod := &d.Spec.Template.Spec
		if err := setImage(pod, "controllers", image); err != nil {
			return err
		}
		pod.Containers[0].Command = append(pod.Containers[0].Command, flags...)
		if !cfg.Approver {
			pod.Tolerations = onceReady()
		}
		return setAPIServer(cfg, pod, "controllers")
	}, onlyBalanced)
	return Addon{Objects: set, Waits: ownWaits(cfg, name)}, err
}

// ownWaits: nodes cannot join without the approver, and a cluster is up without the others.
func ownWaits(cfg Config, name string) []Wait {
	if !cfg.Approver {
		return nil
	}
	return []Wait{{Kind: KindDaemonSet, Name: name, Min: 1}}
}

// onceReady keeps a pod away from a node that is not ready yet, where others have more need of the processor.
func onceReady() []corev1.Toleration {
	return []corev1.Toleration{
		{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		{Operator: corev1.TolerationOpExists, Key: "node-role.kubernetes.io/control-plane"},
	}
}
