package addons

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// calicoPool6 is calicoPool and what goes with it for the second address of pods, which upstream's manifest leaves off. Pods that
// send to nodes are hidden behind theirs, as is the default of IPv4 and not of IPv6: the way back is no other than the way there.
func calicoPool6(cfg Config, pod *corev1.PodSpec) error {
	if !cfg.PodCIDR6.IsValid() {
		return nil
	}
	c, err := container(pod, calicoNode)
	if err != nil {
		return err
	}
	if err := replaceEnv(c, "FELIX_IPV6SUPPORT", "true"); err != nil {
		return err
	}
	if err := replaceEnv(c, "CALICO_IPV6POOL_VXLAN", cfg.vxlanMode()); err != nil {
		return err
	}
	for _, e := range []struct{ name, value string }{
		{"CALICO_IPV6POOL_CIDR", cfg.PodCIDR6.String()},
		{"CALICO_IPV6POOL_NAT_OUTGOING", "true"},
		{"IP6", "autodetect"},
		{"IP6_AUTODETECTION_METHOD", "kubernetes-internal-ip"},
	} {
		if err := addEnv(c, e.name, e.value); err != nil {
			return err
		}
	}
	return nil
}

// podsHaveIPv6 has the CNI plugin give each pod an address of each family.
func podsHaveIPv6(cfg Config, m *corev1.ConfigMap) error {
	if !cfg.PodCIDR6.IsValid() {
		return nil
	}
	const plugin = `"type": "calico-ipam"`
	config := m.Data["cni_network_config"]
	if strings.Count(config, plugin) != 1 {
		return fmt.Errorf("data.cni_network_config is not as expected: it has no single %s", plugin)
	}
	m.Data["cni_network_config"] = strings.Replace(config, plugin, plugin+`, "assign_ipv4": "true", "assign_ipv6": "true"`, 1)
	return nil
}
