package addons

import (
	_ "embed"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	proxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
	"sigs.k8s.io/yaml"
)

//go:embed manifests/kube-proxy.yaml
var kubeProxyManifest []byte

const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount/"

func kubeProxy(cfg Config, _ Manifests) (Addon, error) {
	set, err := withDirect(cfg, kubeProxyObjects, "kube-proxy", "kube-proxy")
	wait := Wait{Kind: KindDaemonSet, Name: "kube-proxy", Min: cfg.Nodes}
	return Addon{Objects: set, Waits: []Wait{wait}}, err
}

func kubeProxyObjects(cfg Config) ([]*unstructured.Unstructured, error) {
	set, err := decode(kubeProxyManifest)
	if err != nil {
		return nil, err
	}
	image, err := cfg.image("kube-proxy")
	if err != nil {
		return nil, err
	}
	err = edit(set, "DaemonSet", "kube-proxy", func(d *appsv1.DaemonSet) error {
		if !cfg.ConntrackLimits {
			goesFirst(&d.Spec.Template.Spec.Containers[0])
		}
		return setImage(&d.Spec.Template.Spec, "kube-proxy", image)
	})
	if err != nil {
		return nil, err
	}
	return set, edit(set, "ConfigMap", "kube-proxy", kubeProxyFiles(cfg))
}

// goesFirst suits a developer's computer, where all starts at the same moment: CoreDNS, for one, asks for the API again only after a second
// or more if it comes before kube-proxy's rules.
func goesFirst(c *corev1.Container) {
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m")}
}

// kubeProxyFiles fills in the two files that kube-proxy reads, under kubeadm's keys.
func kubeProxyFiles(cfg Config) patch[corev1.ConfigMap] {
	return func(m *corev1.ConfigMap) error {
		config, err := compactYAML(kubeProxyConfiguration(cfg))
		if err != nil {
			return fmt.Errorf("config.conf: %w", err)
		}
		kubeconfig, err := compactYAML(kubeProxyKubeconfig(cfg))
		if err != nil {
			return fmt.Errorf("kubeconfig.conf: %w", err)
		}
		m.Data = map[string]string{"config.conf": config, "kubeconfig.conf": kubeconfig}
		return nil
	}
}

func kubeProxyConfiguration(cfg Config) *proxyv1alpha1.KubeProxyConfiguration {
	c := &proxyv1alpha1.KubeProxyConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: proxyv1alpha1.SchemeGroupVersion.String(),
			Kind:       "KubeProxyConfiguration",
		},
		Mode:        "nftables",
		ClusterCIDR: cfg.podCIDRs(), FeatureGates: cfg.FeatureGates,
	}
	if cfg.NodePortsEverywhere {
		c.NodePortAddresses = []string{"0.0.0.0/0"}
		if cfg.PodCIDR6.IsValid() {
			c.NodePortAddresses = append(c.NodePortAddresses, "::/0")
		}
	}
	c.ClientConnection.Kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf"
	if !cfg.ConntrackLimits {
		// Inside a network namespace of its own the kernel shows these limits read-only, and
		// kube-proxy exits when it cannot write them. Zero leaves them as they are.
		c.Conntrack.MaxPerCore, c.Conntrack.Min = new(int32), new(int32)
	}
	return c
}

// kubeProxyKubeconfig names the API server by an address that needs no service routing, since it is
// kube-proxy that makes service routing work.
func kubeProxyKubeconfig(cfg Config) *clientcmdv1.Config {
	const name = "default"
	return &clientcmdv1.Config{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters: []clientcmdv1.NamedCluster{{Name: name, Cluster: clientcmdv1.Cluster{
			Server:               cfg.apiServer(),
			CertificateAuthority: serviceAccountDir + "ca.crt",
		}}},
		AuthInfos: []clientcmdv1.NamedAuthInfo{{Name: name, AuthInfo: clientcmdv1.AuthInfo{
			TokenFile: serviceAccountDir + "token",
		}}},
		Contexts: []clientcmdv1.NamedContext{{Name: name, Context: clientcmdv1.Context{
			Cluster: name, AuthInfo: name,
		}}},
		CurrentContext: name,
	}
}

// compactYAML writes only what says something: Kubernetes' configuration types write out dozens of
// empty fields, which the program that reads them fills with its defaults anyway.
func compactYAML(v any) (string, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(v)
	if err != nil {
		return "", err
	}
	for _, unsaid := range [][]string{{"logging"}, {"clientConnection", "qps"}, {"clientConnection", "burst"}} {
		unstructured.RemoveNestedField(content, unsaid...)
	}
	gates, given := content["featureGates"]
	out, _ := compact(content).(map[string]any)
	if given { // one that is off is meant
		out["featureGates"] = gates
	}
	text, err := yaml.Marshal(out)
	return string(text), err
}

// compact drops what is empty. Numbers stay: a zero that was written is meant.
func compact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e := compact(e); e != nil {
				out[k] = e
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case string:
		if v == "" || v == "0s" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}
