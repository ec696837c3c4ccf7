package addons

import (
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// calico is upstream's manifest for the Kubernetes datastore, patched: see the constructors of the
// patches for what and why.
func calico(cfg Config, manifests Manifests) (Addon, error) {
	path := calicoPath(cfg)
	set, err := withDirect(cfg, func(cfg Config) ([]*unstructured.Unstructured, error) {
		set, err := upstream(manifests, calicoManifests, path)
		if err != nil {
			return nil, err
		}
		return set, patchCalico(cfg, set)
	}, calicoNode)
	if err != nil {
		return Addon{}, fmt.Errorf("%s: %w", path, err)
	}
	return Addon{Objects: set, Waits: calicoWaits(cfg)}, nil
}

// calicoManifests is the component of the bundle.
const calicoManifests = "calico-manifests"

func calicoPath(cfg Config) string {
	if cfg.Typha {
		return "calico/calico-typha.yaml"
	}
	return "calico/calico-vxlan.yaml"
}

func calicoWaits(cfg Config) []Wait {
	waits := []Wait{
		{Kind: KindDaemonSet, Name: "calico-node", Min: cfg.Nodes},
		{Kind: KindDeployment, Name: kubeControllers, Min: 1},
	}
	if cfg.Typha {
		waits = append(waits, Wait{Kind: KindDeployment, Name: "calico-typha", Min: typhaReplicas(cfg.Nodes)})
	}
	return waits
}

func patchCalico(cfg Config, set []*unstructured.Unstructured) error {
	if err := edit(set, "ConfigMap", "calico-config", calicoSettings(cfg)); err != nil {
		return err
	}
	if err := edit(set, "DaemonSet", "calico-node", calicoNodePatches(cfg)...); err != nil {
		return err
	}
	if err := edit(set, "Deployment", kubeControllers, kubeControllersPatches(cfg)...); err != nil {
		return err
	}
	if !cfg.Typha {
		return nil
	}
	return edit(set, "Deployment", "calico-typha", typhaPatches(cfg)...)
}

// calicoSettings sets the backend, which the Typha manifest has as BGP, and the MTU.
func calicoSettings(cfg Config) patch[corev1.ConfigMap] {
	return func(m *corev1.ConfigMap) error {
		for _, key := range []string{"calico_backend", "veth_mtu", "cni_network_config", "typha_service_name"} {
			if m.Data[key] == "" {
				return fmt.Errorf("data.%s is not in the manifest", key)
			}
		}
		m.Data["calico_backend"] = "vxlan"
		m.Data["veth_mtu"] = strconv.Itoa(cfg.MTU)
		if err := podsWaitForPolicy(m); err != nil {
			return err
		}
		return podsHaveIPv6(cfg, m)
	}
}

// policyTimeout is how long a pod waits for Felix before it starts regardless, in seconds.
const policyTimeout = 10

// podsWaitForPolicy lets the CNI plugin return when Felix has programmed the pod's own rules. Without it a pod can be
// ready, and its services lead to it, while its node still drops what others send: connections that were just
// opened hang. The file by which Felix says so is switched on in felixSettings. The configuration is a template and no
// JSON yet, so this is an insertion into text.
func podsWaitForPolicy(m *corev1.ConfigMap) error {
	const before = `"datastore_type": "kubernetes",`
	config := m.Data["cni_network_config"]
	if strings.Count(config, before) != 1 {
		return fmt.Errorf("data.cni_network_config is not as expected: it has no single line %s", before)
	}
	line := fmt.Sprintf("%s\n\"policy_setup_timeout_seconds\": %d,", before, policyTimeout)
	m.Data["cni_network_config"] = strings.Replace(config, before, line, 1)
	return nil
}

const kubeControllers = "calico-kube-controllers"

// kubeControllersPatches: where each node has the API on its loopback, the controllers run on the network of their node, as upstream's do
// with an etcd of their own. So they wait neither for Calico nor for kube-proxy, and do not end a launch. Elsewhere they
// are on the pod network, as upstream has them.
func kubeControllersPatches(cfg Config) []patch[appsv1.Deployment] {
	on := func(change func(Config, *corev1.PodSpec) error) patch[appsv1.Deployment] {
		return func(d *appsv1.Deployment) error { return change(cfg, &d.Spec.Template.Spec) }
	}
	patches := []patch[appsv1.Deployment]{
		on(func(cfg Config, pod *corev1.PodSpec) error {
			return setComponentImage(cfg, pod, kubeControllers, kubeControllers)
		}),
		on(func(_ Config, pod *corev1.PodSpec) error { return quickStart(pod, kubeControllers) }),
	}
	if cfg.apiOnLoopback() && cfg.DirectHost == "" {
		patches = append(patches, on(onNodeNetwork))
	}
	if !cfg.apiOnLoopback() || cfg.DirectHost == "" {
		patches = append(patches, on(func(cfg Config, pod *corev1.PodSpec) error { return setAPIServer(cfg, pod, kubeControllers) }))
	}
	return patches
}

func onNodeNetwork(_ Config, pod *corev1.PodSpec) error {
	if pod.HostNetwork || pod.DNSPolicy != "" {
		return fmt.Errorf("pod of %q: its network is not as expected in the manifest", kubeControllers)
	}
	pod.HostNetwork = true
	// A node is not ready before it has a pod network.
	pod.Tolerations = append(pod.Tolerations, corev1.Toleration{
		Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule,
	})
	return nil
}

// setComponentImage uses the bundle's image of a component.
func setComponentImage(cfg Config, pod *corev1.PodSpec, container, component string) error {
	ref, err := cfg.image(component)
	if err != nil {
		return err
	}
	return setImage(pod, container, ref)
}

// setAPIServer gives a container an address of the API server that works before kube-proxy has
// programmed any service. install-cni also writes it into the CNI plugin's kubeconfig.
func setAPIServer(cfg Config, pod *corev1.PodSpec, name string) error {
	c, err := container(pod, name)
	if err != nil {
		return err
	}
	if err := addEnv(c, "KUBERNETES_SERVICE_HOST", cfg.APIHost); err != nil {
		return err
	}
	return addEnv(c, "KUBERNETES_SERVICE_PORT", strconv.Itoa(cfg.APIPort))
}

// upstream reads one manifest of a component of the bundle: those documents in it that have all the words.
func upstream(manifests Manifests, component, path string, words ...string) ([]*unstructured.Unstructured, error) {
	text, ok := manifests[component][path]
	if !ok {
		return nil, fmt.Errorf("no %q in component %q", path, component)
	}
	set, err := decode(text, words...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}
