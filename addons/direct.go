package addons

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// BalancerLabel is on nodes with a load balancer for the API on their own loopback.
const BalancerLabel = "slipway.dev/api-balancer"

// directSuffix ends the names of what is for nodes without one.
const directSuffix = "-direct"

// withDirect gives the objects for a cluster some of whose nodes may have no load balancer of their own, such as those
// that kubeadm joined: the DaemonSet is limited to nodes with one, and a second DaemonSet with its own copy of the
// ConfigMaps goes to the others and uses the cluster's endpoint.
func withDirect(
	cfg Config, render func(Config) ([]*unstructured.Unstructured, error), daemonSet string, configMaps ...string,
) ([]*unstructured.Unstructured, error) {
	set, err := render(cfg)
	if err != nil || cfg.DirectHost == "" {
		return set, err
	}
	if err := edit(set, "DaemonSet", daemonSet, onlyBalanced); err != nil {
		return nil, err
	}
	cfg.APIHost, cfg.APIPort = cfg.DirectHost, cfg.DirectPort
	other, err := render(cfg)
	if err != nil {
		return nil, err
	}
	for _, name := range configMaps {
		m, err := find(other, "ConfigMap", name)
		if err != nil {
			return nil, err
		}
		m.SetName(name + directSuffix)
		set = append(set, m)
	}
	if err := edit(other, "DaemonSet", daemonSet, asDirect(configMaps)); err != nil {
		return nil, err
	}
	d, err := find(other, "DaemonSet", daemonSet+directSuffix)
	return append(set, d), err
}

func onlyBalanced(d *appsv1.DaemonSet) error {
	pod := &d.Spec.Template.Spec
	if pod.NodeSelector == nil {
		pod.NodeSelector = map[string]string{}
	}
	pod.NodeSelector[BalancerLabel] = "true"
	return nil
}

func asDirect(configMaps []string) patch[appsv1.DaemonSet] {
	return func(d *appsv1.DaemonSet) error {
		pod := &d.Spec.Template.Spec
		if pod.Affinity != nil {
			return fmt.Errorf("it has an affinity already")
		}
		pod.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: BalancerLabel, Operator: corev1.NodeSelectorOpDoesNotExist}},
			}}},
		}}
		d.Name += directSuffix
		if d.Spec.Selector == nil {
			return fmt.Errorf("it has no selector")
		}
		const key = "slipway.dev/api"
		d.Spec.Selector.MatchLabels[key] = "direct"
		d.Spec.Template.Labels[key] = "direct"
		for i := range pod.Volumes {
			if m := pod.Volumes[i].ConfigMap; m != nil && slices.Contains(configMaps, m.Name) {
				m.Name += directSuffix
			}
		}
		return nil
	}
}
