package addons

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
)

// typhaPatches changes Typha, which stands between the API server and the many Felixes of a large
// cluster. It runs on the host network, so one node carries at most one.
func typhaPatches(cfg Config) []patch[appsv1.Deployment] {
	const name = "calico-typha"
	return []patch[appsv1.Deployment]{
		func(d *appsv1.Deployment) error { return setComponentImage(cfg, &d.Spec.Template.Spec, name, name) },
		func(d *appsv1.Deployment) error { return setAPIServer(cfg, &d.Spec.Template.Spec, name) },
		func(d *appsv1.Deployment) error {
			if d.Spec.Replicas == nil {
				return fmt.Errorf("spec.replicas is not in the manifest")
			}
			*d.Spec.Replicas = int32(typhaReplicas(cfg.Nodes))
			return nil
		},
		func(d *appsv1.Deployment) error {
			c, err := container(&d.Spec.Template.Spec, name)
			if err != nil {
				return err
			}
			if c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet == nil {
				return fmt.Errorf("container %q: readinessProbe.httpGet is not in the manifest", name)
			}
			everySecond(c.ReadinessProbe)
			return nil
		},
	}
}

// typhaReplicas follows upstream's advice: three, so that one may fail, and one more for each 200
// nodes; never more than there are nodes.
func typhaReplicas(nodes int) int {
	return min(nodes, 3+nodes/200)
}
