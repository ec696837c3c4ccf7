package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
)

// clusterConfiguration is what is needed of kubeadm's:
// https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/#kubeadm-k8s-io-v1beta4-ClusterConfiguration
type clusterConfiguration struct {
	ClusterName       string `json:"clusterName"`
	KubernetesVersion string `json:"kubernetesVersion"`
	Networking        struct {
		DNSDomain     string `json:"dnsDomain"`
		PodSubnet     string `json:"podSubnet"`
		ServiceSubnet string `json:"serviceSubnet"`
	} `json:"networking"`
	APIServer struct {
		CertSANs []string `json:"certSANs"`
	} `json:"apiServer"`
	Etcd struct {
		External externalEtcd `json:"external"`
	} `json:"etcd"`
}

// externalEtcd has no endpoints where the control planes run etcd.
type externalEtcd struct {
	Endpoints []string `json:"endpoints"`
	CAFile    string   `json:"caFile"`
	CertFile  string   `json:"certFile"`
	KeyFile   string   `json:"keyFile"`
}

// reading finds its files wherever the administrator of kubeadm has them.
func (e externalEtcd) reading(read certs.Read) certs.Read {
	places := map[string]string{invite.EtcdCA: e.CAFile, invite.EtcdCert: e.CertFile, invite.EtcdKey: e.KeyFile}
	return func(file string) ([]byte, error) { return read(cmp.Or(places[file], file)) }
}

// readKubeadm asks a cluster for kubeadm's configuration of it.
func readKubeadm(ctx context.Context, c kubernetes.Interface) (clusterConfiguration, error) {
	var k clusterConfiguration
	m, err := c.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "kubeadm-config", metav1.GetOptions{})
	if err != nil {
		return k, err
	}
	if err := yaml.Unmarshal([]byte(m.Data["ClusterConfiguration"]), &k); err != nil {
		return k, fmt.Errorf("read ConfigMap kubeadm-config: %w", err)
	}
	return k, nil
}

// readCluster asks a cluster what it is. The endpoint is not among that: it is how the caller reached it.
func readCluster(ctx context.Context, c kubernetes.Interface) (bootstrap.Cluster, error) {
	const op = "ask the cluster for its configuration"
	var out bootstrap.Cluster
	k, err := readKubeadm(ctx, c)
	if err != nil {
		return out, fmt.Errorf("%s: %w", op, err)
	}
	own, err := c.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, bootstrap.ClusterConfigMap, metav1.GetOptions{})
	switch {
	case err == nil:
		if err := json.Unmarshal([]byte(own.Data[bootstrap.ClusterConfigKey]), &out); err != nil {
			return out, fmt.Errorf("%s: read ConfigMap %s: %w", op, own.Name, err)
		}
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err): // forbidden: its permission is not there either
		if out, err = k.cluster(); err != nil {
			return out, fmt.Errorf("%s: read ConfigMap kubeadm-config: %w", op, err)
		}
	default:
		return out, fmt.Errorf("%s: %w", op, err)
	}
	out.KubernetesVersion = k.KubernetesVersion // kubeadm may have upgraded it since
	return out, nil
}

// cluster is one that kubeadm made.
func (k clusterConfiguration) cluster() (bootstrap.Cluster, error) {
	out := bootstrap.Cluster{
		Name: k.ClusterName, DNSDomain: k.Networking.DNSDomain, ExtraSANs: k.APIServer.CertSANs, Kubeadm: true, Dedicated: true,
		ExternalEtcd: k.Etcd.External.Endpoints,
	}
	var errs [2]error
	if k.Networking.PodSubnet != "" { // kubeadm does not need to know it
		out.PodCIDR, errs[0] = netip.ParsePrefix(k.Networking.PodSubnet)
	}
	out.ServiceCIDR, errs[1] = netip.ParsePrefix(k.Networking.ServiceSubnet)
	return out, errors.Join(errs[:]...)
}

// kubeletSkew is how many minors a kubelet may be older than the API server: https://kubernetes.io/releases/version-skew-policy/#kubelet
const kubeletSkew = 3

// checkVersion tells whether a bundle fits a cluster. The fault is bundle-version.
func checkVersion(b *images.Bundle, c bootstrap.Cluster, controlPlane bool) error {
	const op = "join with this bundle"
	bad := func(why, next string) error {
		return fault.New("bundle-version", fmt.Sprintf("%s, of Kubernetes %s", op, b.KubernetesVersion()), errors.New(why), next)
	}
	theirs, err := version.ParseSemantic(c.KubernetesVersion)
	if err != nil {
		return fmt.Errorf("%s: read the cluster's version: %w", op, err)
	}
	ours, err := version.ParseSemantic(b.KubernetesVersion())
	if err != nil {
		return fmt.Errorf("%s: read its version: %w", op, err)
	}
	use := fmt.Sprintf("use a bundle of %s: `slipway images build --kubernetes-version %d.%d`",
		c.KubernetesVersion, theirs.Major(), theirs.Minor())
	switch {
	case controlPlane && !ours.EqualTo(theirs):
		return bad(fmt.Sprintf("the cluster is of %s, and all control planes are of one version", c.KubernetesVersion), use)
	case theirs.LessThan(ours):
		return bad(fmt.Sprintf("the cluster is of %s, and no kubelet may be newer", c.KubernetesVersion), use)
	case ours.Major() != theirs.Major() || theirs.Minor()-ours.Minor() > kubeletSkew:
		return bad(fmt.Sprintf("the cluster is of %s, and no kubelet may be more than %d minors older", c.KubernetesVersion, kubeletSkew), use)
	}
	return nil
}

// checkName refuses a name that a living node has. Whoever may not look, as with some clusters' tokens, finds out later.
func checkName(ctx context.Context, c kubernetes.Interface, name string) error {
	o, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look whether the cluster has a node %q: %w", name, err)
	}
	for _, cond := range o.Status.Conditions {
		if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
			return fault.New("node-name-taken", fmt.Sprintf("join as node %q", name),
				errors.New("the cluster has a node of that name, and it is ready"),
				"use another --node-name, or reset that server first")
		}
	}
	return nil
}
