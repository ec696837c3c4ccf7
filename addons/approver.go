package addons

import (
	_ "embed"

	appsv1 "k8s.io/api/apps/v1"
)

//go:embed manifests/approver.yaml
var approverManifest []byte

// approver runs on the control planes that Slipway made: they have its program, which the pause image is only the
// wrapping of. Others have no load balancer on their loopback, and no program.
func approver(cfg Config, _ Manifests) (Addon, error) {
	const name = "slipway-approver"
	set, err := decode(approverManifest)
	if err != nil {
		return Addon{}, err
	}
	image, err := cfg.image("pause")
	if err != nil {
		return Addon{}, err
	}
	err = edit(set, "DaemonSet", name, func(d *appsv1.DaemonSet) error {
		pod := &d.Spec.Template.Spec
		if err := setImage(pod, "approver", image); err != nil {
			return err
		}
		pod.Containers[0].Command = append(pod.Containers[0].Command, "--endpoint="+cfg.DirectHost)
		if cfg.VirtualIP.IsValid() {
			pod.Containers[0].Command = append(pod.Containers[0].Command, "--endpoint="+cfg.VirtualIP.String())
		}
		return setAPIServer(cfg, pod, "approver")
	}, onlyBalanced)
	return Addon{Objects: set, Waits: []Wait{{Kind: KindDaemonSet, Name: name, Min: 1}}}, err
}
