package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"slipway.dev/slipway/certs"
)

func TestSubjects(t *testing.T) {
	files := treeOf(nodeFiles(t, certs.ECDSA, controlPlane()))
	for path, want := range map[string]string{
		"pki/ca.crt":                                      "CN=kubernetes",
		"pki/etcd/ca.crt":                                 "CN=etcd-ca",
		"pki/front-proxy-ca.crt":                          "CN=front-proxy-ca",
		"pki/apiserver.crt":                               "CN=kube-apiserver",
		"pki/apiserver-kubelet-client.crt":                "CN=kube-apiserver-kubelet-client,O=kubeadm:cluster-admins",
		"pki/apiserver-etcd-client.crt":                   "CN=kube-apiserver-etcd-client",
		"pki/front-proxy-client.crt":                      "CN=front-proxy-client",
		"pki/etcd/server.crt":                             "CN=dev-cp-1",
		"pki/etcd/peer.crt":                               "CN=dev-cp-1",
		"pki/etcd/healthcheck-client.crt":                 "CN=kube-etcd-healthcheck-client",
		"/var/lib/kubelet/pki/kubelet.crt":                "CN=system:node:dev-cp-1,O=system:nodes",
		"/var/lib/kubelet/pki/kubelet-client-current.pem": "CN=system:node:dev-cp-1,O=system:nodes",
	} {
		if got := files.leaf(t, path).Subject.String(); got != want {
			t.Errorf("%s: subject %q, want %q", path, got, want)
		}
	}
}

func TestLifetimes(t *testing.T) {
	for path := range treeOf(nodeFiles(t, certs.ECDSA, controlPlane())) {
		if !strings.HasSuffix(path, ".crt") {
			continue
		}
		cert := treeOf(nodeFiles(t, certs.ECDSA, controlPlane())).leaf(t, path)
		want := 365 * 24 * time.Hour
		if cert.IsCA {
			want *= 10
		}
		if got := cert.NotAfter.Sub(cert.NotBefore); got != want {
			t.Errorf("%s is good for %v, want %v", path, got, want)
		}
		if !cert.NotBefore.Equal(now().Add(-5 * time.Minute)) {
			t.Errorf("%s begins %v", path, cert.NotBefore)
		}
	}
}

func TestLeafNeverOutlivesItsAuthority(t *testing.T) {
	a := authorities(t, certs.ECDSA)
	late := now().Add(9*365*24*time.Hour + 200*24*time.Hour)
	files, err := a.NodeFiles(cluster(), worker(), late)
	if err != nil {
		t.Fatal(err)
	}
	ca := treeOf(a.Files()).leaf(t, "pki/ca.crt")
	if leaf := treeOf(files).leaf(t, "/var/lib/kubelet/pki/kubelet.crt"); leaf.NotAfter.After(ca.NotAfter) {
		t.Errorf("leaf ends %v, its authority %v", leaf.NotAfter, ca.NotAfter)
	}
	if _, err := a.NodeFiles(cluster(), worker(), late.Add(365*24*time.Hour)); err == nil {
		t.Error("an expired authority signed")
	}
}

func TestKeysAndUsages(t *testing.T) {
	for _, alg := range []certs.Algorithm{certs.ECDSA, certs.RSA} {
		t.Run(string(alg), func(t *testing.T) {
			cert := treeOf(nodeFiles(t, alg, controlPlane())).leaf(t, "pki/apiserver.crt")
			switch key := cert.PublicKey.(type) {
			case *ecdsa.PublicKey:
				if alg != certs.ECDSA || key.Curve != elliptic.P256() || cert.KeyUsage != x509.KeyUsageDigitalSignature {
					t.Errorf("%s key on %v with usage %v", alg, key.Curve.Params().Name, cert.KeyUsage)
				}
			case *rsa.PublicKey:
				if alg != certs.RSA || key.N.BitLen() != 2048 || cert.KeyUsage&x509.KeyUsageKeyEncipherment == 0 {
					t.Errorf("%s key of %d bits with usage %v", alg, key.N.BitLen(), cert.KeyUsage)
				}
			}
			if !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || cert.IsCA {
				t.Errorf("extended usage %v, CA %v", cert.ExtKeyUsage, cert.IsCA)
			}
		})
	}
}

func TestUnknownAlgorithm(t *testing.T) {
	if _, err := certs.NewAuthorities("md5", now()); err == nil || !strings.Contains(err.Error(), `"md5"`) {
		t.Errorf("got %v", err)
	}
}

func TestKubeconfigs(t *testing.T) {
	cp, w := treeOf(nodeFiles(t, certs.ECDSA, controlPlane())), treeOf(nodeFiles(t, certs.ECDSA, worker()))
	const own, shared = "https://198.51.100.2:6443", "https://api.dev.example:6443"
	for _, tt := range []struct {
		name   string
		data   []byte
		server string
	}{
		{"admin", cp["admin.conf"], shared},
		{"super-admin", cp["super-admin.conf"], shared},
		{"controller-manager", cp["controller-manager.conf"], own},
		{"scheduler", cp["scheduler.conf"], own},
		{"kubelet on a control plane", cp["kubelet.conf"], own},
		{"kubelet on a worker", w["kubelet.conf"], shared},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := clientcmd.Load(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Clusters[c.Contexts[c.CurrentContext].Cluster].Server; got != tt.server {
				t.Errorf("server %q, want %q", got, tt.server)
			}
			if err := clientcmd.ConfirmUsable(*c, ""); err != nil && !strings.Contains(err.Error(), "kubelet-client-current.pem") {
				t.Error(err)
			}
		})
	}
}
