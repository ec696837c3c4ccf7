package server

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/certs"
)

// kubeadmNode reads from its files which control plane this host is, if it is one: the cluster need not answer.
func kubeadmNode(root string) (certs.Node, error) {
	leaf, err := leafAt(root, certs.KubeletPKI+"/kubelet-client-current.pem")
	if err != nil {
		return certs.Node{}, fmt.Errorf("find the node's name: %w", err)
	}
	name, ok := strings.CutPrefix(leaf.Subject.CommonName, "system:node:")
	if !ok || name == "" {
		return certs.Node{}, fmt.Errorf("find the node's name: the kubelet's certificate is for %q", leaf.Subject.CommonName)
	}
	address, err := advertised(root)
	if err != nil {
		return certs.Node{}, fmt.Errorf("find the API server's address: %w", err)
	}
	return certs.Node{Name: name, Addresses: []netip.Addr{address}, ControlPlane: true}, nil
}

func leafAt(root, path string) (*x509.Certificate, error) {
	data, err := certs.Host(root)(path)
	if err != nil {
		return nil, err
	}
	chain, err := cert.ParseCertsPEM(data)
	if err != nil {
		return nil, fmt.Errorf("read certificate %q: %w", path, err)
	}
	return chain[0], nil
}

// advertised is the address that this host's API server gives for itself.
func advertised(root string) (netip.Addr, error) {
	path := filepath.Join("manifests", "kube-apiserver.yaml")
	data, err := certs.Host(root)(path)
	if err != nil {
		return netip.Addr{}, err
	}
	var pod corev1.Pod
	if err := yaml.Unmarshal(data, &pod); err != nil {
		return netip.Addr{}, fmt.Errorf("read %q: %w", path, err)
	}
	for _, c := range pod.Spec.Containers {
		for _, arg := range append(c.Command, c.Args...) {
			if value, ok := strings.CutPrefix(arg, "--advertise-address="); ok {
				return netip.ParseAddr(value)
			}
		}
	}
	return netip.Addr{}, errors.New("its manifest has no --advertise-address")
}
