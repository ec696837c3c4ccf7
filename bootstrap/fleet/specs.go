package fleet

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/certs"
)

const kubernetesDir = "/etc/kubernetes"

// Plan is a new cluster: the specification of each of its nodes, and its administrator's kubeconfig.
// It holds secrets.
type Plan struct {
	Specs      []*bootstrap.NodeSpec `json:"specs"`
	Kubeconfig []byte                `json:"kubeconfig"`
}

// NewPlan makes the keys and certificates of a cluster. bundle is the bundle's directory on the hosts.
func NewPlan(
	c bootstrap.Cluster, nodes []bootstrap.Node, cas *certs.Authorities, bundle string, now time.Time,
) (*Plan, error) {
	encryption, err := encryptionConfig()
	if err != nil {
		return nil, err
	}
	p := &Plan{}
	for _, n := range nodes {
		s, err := NewSpec(c, n, cas, bundle, now)
		if err != nil {
			return nil, err
		}
		if n.ControlPlane {
			s.Files = append(s.Files, encryption)
		}
		for _, m := range c.ControlPlanes {
			s.Servers = append(s.Servers, APIAddress(m.Address))
		}
		p.Specs = append(p.Specs, s)
	}
	p.Kubeconfig, err = cas.AdminKubeconfig(PKI(c), "https://"+c.Endpoint, now)
	return p, err
}

// NewSpec makes the specification of one node, with certificates that cas signs. Encryption keys are not among its files.
func NewSpec(
	c bootstrap.Cluster, n bootstrap.Node, cas *certs.Authorities, bundle string, now time.Time,
) (*bootstrap.NodeSpec, error) {
	files, err := cas.NodeFiles(PKI(c), certs.Node{
		Name: n.Name, Addresses: n.Addresses(), ControlPlane: n.ControlPlane,
	}, now)
	if err != nil {
		return nil, err
	}
	s := &bootstrap.NodeSpec{Version: bootstrap.SpecVersion, Cluster: c, Node: n, Bundle: bundle, Files: Identity(files)}
	if !n.Init {
		s.Files = slices.DeleteFunc(s.Files, func(f engine.File) bool { return f.Path == superAdmin })
	}
	return s, nil
}

// NodeAPI is the URL by which a node reaches the API.
func NodeAPI(c bootstrap.Cluster) string {
	if c.Balanced {
		return "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(bootstrap.BalancerPort))
	}
	return "https://" + c.Endpoint
}

// PKI is what certificates say of a cluster.
func PKI(c bootstrap.Cluster) certs.Cluster {
	pki := certs.Cluster{
		Name: c.Name, DNSDomain: c.DNSDomain, ServiceIP: c.ServiceIP(), Endpoint: "https://" + c.Endpoint, ExtraSANs: c.SANs(),
		ExternalEtcd: len(c.ExternalEtcd) > 0,
	}
	if c.Balanced {
		pki.NodeAPI = NodeAPI(c)
	}
	if host, _, err := net.SplitHostPort(c.Endpoint); err == nil {
		pki.ExtraSANs = append(slices.Clone(pki.ExtraSANs), host)
	}
	return pki
}

// superAdmin can do everything whatever RBAC says, and cannot be revoked: only the node that makes the cluster's objects
// has it, as with kubeadm.
const superAdmin = kubernetesDir + "/super-admin.conf"

// Identity gives certificates' files the paths that they have on a host.
func Identity(files []certs.File) []engine.File {
	out := make([]engine.File, 0, len(files))
	for _, f := range files {
		path := f.Path
		if !filepath.IsAbs(path) {
			path = filepath.Join(kubernetesDir, path)
		}
		out = append(out, engine.File{Path: path, Data: f.Data, Mode: f.Mode, Link: f.Link})
	}
	return out
}

// encryptionConfig makes a key for secrets in etcd. Secretbox needs no rotation by volume, unlike AES-GCM:
// https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/#providers
func encryptionConfig() (engine.File, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return engine.File{}, fmt.Errorf("make encryption key: %w", err)
	}
	text := `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - name: key1
        secret: ` + base64.StdEncoding.EncodeToString(key) + `
  - identity: {}
`
	const mode fs.FileMode = 0o600
	return engine.File{Path: bootstrap.EncryptionConfig, Data: []byte(text), Mode: mode}, nil
}

// APIAddress is the address of a node's own API server.
func APIAddress(a netip.Addr) string {
	return net.JoinHostPort(a.String(), strconv.Itoa(bootstrap.APIPort))
}
