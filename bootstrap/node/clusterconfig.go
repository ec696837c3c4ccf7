package node

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/addons"
	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
)

//go:embed manifests/rbac.yaml
var rbac []byte

// clusterConfig makes what kubeadm keeps in the cluster: its permissions and its ConfigMaps. Only the super admin
// may, because the administrators' own permission is among them.
func (n *builder) clusterConfig(name string, needs ...string) engine.Step {
	addon := func() (addons.Addon, error) {
		objects, err := n.clusterObjects()
		return addons.Addon{Name: "kubeadm's permissions and ConfigMaps", Objects: objects}, err
	}
	return n.addonStep(name, "apply ", addon, addons.Differing, addons.Apply, needs)
}

func (n *builder) clusterObjects() ([]*unstructured.Unstructured, error) {
	objects, err := decodeObjects(rbac)
	if err != nil {
		return nil, fmt.Errorf("read the built-in permissions: %w", err)
	}
	maps, err := n.configMaps()
	if err != nil {
		return nil, err
	}
	for _, m := range maps {
		o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(m)
		if err != nil {
			return nil, fmt.Errorf("write ConfigMap %q: %w", m.Name, err)
		}
		objects = append(objects, &unstructured.Unstructured{Object: o})
	}
	return objects, nil
}

func decodeObjects(text []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := d.Decode(o)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
}

func (n *builder) configMaps() ([]*corev1.ConfigMap, error) {
	cluster, err := yaml.Marshal(n.clusterConfiguration())
	if err != nil {
		return nil, fmt.Errorf("write the cluster's configuration: %w", err)
	}
	shared, err := n.kubeletConfiguration()
	if err != nil {
		return nil, err
	}
	kubelet, err := yaml.Marshal(shared)
	if err != nil {
		return nil, fmt.Errorf("write the kubelets' configuration: %w", err)
	}
	info, err := n.clusterInfo()
	if err != nil {
		return nil, err
	}
	own, err := json.Marshal(n.Cluster)
	if err != nil {
		return nil, fmt.Errorf("write Slipway's configuration: %w", err)
	}
	return []*corev1.ConfigMap{
		configMap(metav1.NamespaceSystem, bootstrap.ClusterConfigMap, bootstrap.ClusterConfigKey, own),
		configMap(metav1.NamespaceSystem, "kubeadm-config", "ClusterConfiguration", cluster),
		configMap(metav1.NamespaceSystem, "kubelet-config", "kubelet", kubelet),
		configMap(metav1.NamespacePublic, "cluster-info", "kubeconfig", info),
	}, nil
}

func configMap(namespace, name, key string, data []byte) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string]string{key: string(data)},
	}
}

// clusterInfo is a kubeconfig without a user.
func (n *builder) clusterInfo() ([]byte, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	data, err := clientcmd.Write(api.Config{Clusters: map[string]*api.Cluster{
		"": {Server: "https://" + n.Cluster.Endpoint, CertificateAuthorityData: ca},
	}})
	if err != nil {
		return nil, fmt.Errorf("write cluster-info: %w", err)
	}
	return data, nil
}
