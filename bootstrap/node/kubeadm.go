package node

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// clusterConfiguration is kubeadm's, of which k8s.io/kubernetes has the types and no client library:
// https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/#kubeadm-k8s-io-v1beta4-ClusterConfiguration
// With it `kubeadm join` makes a control plane like ours, from the same images.
func (n *builder) clusterConfiguration() map[string]any {
	c := n.Cluster
	return map[string]any{
		"apiVersion":           "kubeadm.k8s.io/v1beta4",
		"kind":                 "ClusterConfiguration",
		"clusterName":          c.Name,
		"kubernetesVersion":    c.KubernetesVersion,
		"controlPlaneEndpoint": c.Endpoint,
		"certificatesDir":      pkiDir,
		"imageRepository":      "registry.k8s.io",
		"networking": map[string]any{
			"dnsDomain": c.DNSDomain, "podSubnet": c.PodCIDRs(), "serviceSubnet": c.ServiceCIDRs(),
		},
		"apiServer": map[string]any{
			"certSANs":     append([]string{loopback}, c.SANs()...),
			"extraArgs":    extraArgs(n.apiServer()),
			"extraVolumes": extraVolumes(n.apiServer()),
		},
		"controllerManager": map[string]any{"extraArgs": extraArgs(n.controllerManager())},
		"scheduler":         map[string]any{"extraArgs": extraArgs(n.scheduler())},
		"etcd":              n.etcdConfiguration(),
		"dns":               map[string]any{"imageTag": tagOf(n.refs["coredns"])},
	}
}

func (n *builder) etcdConfiguration() map[string]any {
	if n.externalEtcd() {
		f := EtcdFiles()
		return map[string]any{"external": map[string]any{
			"endpoints": n.Cluster.ExternalEtcd, "caFile": f.CA, "certFile": f.Cert, "keyFile": f.Key,
		}}
	}
	return map[string]any{"local": map[string]any{
		"dataDir": etcdData, "imageTag": tagOf(n.refs["etcd"]), "extraArgs": extraArgs(n.etcd()),
	}}
}

// kubeadmArgs are the beginnings of flags that kubeadm sets itself, the same way or for each node.
func kubeadmArgs() []string {
	return []string{
		"advertise-", "allow-privileged", "authentication-kubeconfig", "authorization-", "bind-address", "cert-file", "client-", "cluster-",
		"controllers", "data-dir", "election-timeout", "enable-", "etcd-", "feature-gates", "heartbeat-interval", "initial-", "key-file",
		"kubeconfig", "kubelet-client-", "kubelet-preferred-", "leader-elect", "listen-", "name", "peer-", "proxy-client-", "requestheader-",
		"root-ca-file", "secure-port", "service-", "tls-cert-file", "tls-private-key-file", "trusted-ca-file",
		"use-service-account-credentials", "watch-progress-",
	}
}

type arg struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// extraArgs are the flags that kubeadm would not give a component, or not with that value.
func extraArgs(c component) []arg {
	var out []arg
	for _, text := range c.args {
		name, value, _ := strings.Cut(strings.TrimPrefix(text, "--"), "=")
		known := slices.ContainsFunc(kubeadmArgs(), func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if !known || slices.Contains(c.changed, name) {
			out = append(out, arg{name, value})
		}
	}
	slices.SortFunc(out, func(a, b arg) int { return strings.Compare(a.Name, b.Name) })
	return out
}

type volume struct {
	Name      string              `json:"name"`
	HostPath  string              `json:"hostPath"`
	MountPath string              `json:"mountPath"`
	ReadOnly  bool                `json:"readOnly"`
	PathType  corev1.HostPathType `json:"pathType"`
}

// extraVolumes are the mounts that kubeadm would not give a component: all but the certificates.
func extraVolumes(c component) []volume {
	var out []volume
	for _, m := range c.mounts {
		if m.path == pkiDir {
			continue
		}
		kind := m.kind
		if m.writable {
			kind = corev1.HostPathDirectoryOrCreate
		}
		out = append(out, volume{m.name, m.path, m.path, !m.writable, kind})
	}
	return out
}

func tagOf(ref string) string { return ref[strings.LastIndex(ref, ":")+1:] }
