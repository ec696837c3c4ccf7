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
func NewPlan(c bootstrap.Cluster, nodes []bootstrap.Node, alg certs.Algorithm, bundle string, now time.Time) (*Plan, error) {
	cas, err := certs.NewAuthorities(alg, now)
	if err != nil {
		return nil, fmt.Errorf("make certificate authorities: %w", err)
	}
	encryption, err := encryptionConfig()
	if err != nil {
		return nil, err
	}
	pki := certs.Cluster{
		Name: c.Name, DNSDomain: c.DNSDomain, ServiceIP: c.ServiceIP(), Endpoint: "https://" + c.Endpoint,
	}
	if host, _, err := net.SplitHostPort(c.Endpoint); err == nil {
		pki.ExtraSANs = append(pki.ExtraSANs, host)
	}
	p := &Plan{}
	for _, n := range nodes {
		files, err := cas.NodeFiles(pki, certs.Node{
			Name: n.Name, Addresses: []netip.Addr{n.Address}, ControlPlane: n.ControlPlane,
		}, now)
		if err != nil {
			return nil, err
		}
		s := &bootstrap.NodeSpec{
			Version: bootstrap.SpecVersion, Cluster: c, Node: n, Bundle: bundle, Files: identities(files),
		}
		if n.ControlPlane {
			s.Files = append(s.Files, encryption)
		}
		if !n.Init {
			s.Files = slices.DeleteFunc(s.Files, func(f engine.File) bool { return f.Path == superAdmin })
		}
		p.Specs = append(p.Specs, s)
	}
	p.Kubeconfig, err = cas.AdminKubeconfig(pki, "https://"+c.Endpoint, now)
	return p, err
}

// superAdmin can do everything whatever RBAC says, and cannot be revoked: only the node that makes the cluster's objects
// has it, as with kubeadm.
const superAdmin = kubernetesDir + "/super-admin.conf"

func identities(files []certs.File) []engine.File {
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
