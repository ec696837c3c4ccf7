package certs_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/certs"
)

func TestTableInvariants(t *testing.T) {
	c, n := cluster(), controlPlane()
	names, paths := map[string]bool{}, map[string]bool{}
	for _, e := range certs.Table() {
		t.Run(e.Name, func(t *testing.T) {
			if names[e.Name] || paths[e.Path] {
				t.Errorf("name %q or path %q is there twice", e.Name, e.Path)
			}
			names[e.Name], paths[e.Path] = true, true
			if !e.Server && !e.Client {
				t.Error("is neither for servers nor for clients")
			}
			if e.Server != (e.Hosts != nil) {
				t.Error("servers need hosts, and only servers")
			}
			if (e.Form == certs.Kubeconfig) != (e.API != nil) {
				t.Error("kubeconfigs need an address, and only kubeconfigs")
			}
			if e.CommonName(n) == "" {
				t.Error("has no common name")
			}
			if e.API != nil && !strings.HasPrefix(e.API(c, n), "https://") {
				t.Errorf("API is %q", e.API(c, n))
			}
			if path.Clean(e.Path) != e.Path {
				t.Errorf("path %q is not clean", e.Path)
			}
		})
	}
}

func TestWorkersGetNoSecretOfTheCluster(t *testing.T) {
	files := nodeFiles(t, certs.ECDSA, worker())
	var got []string
	for _, f := range files {
		got = append(got, f.Path)
	}
	slices.Sort(got)
	want := []string{
		"/var/lib/kubelet/pki/kubelet-client-2026-05-01-12-00-00.pem",
		"/var/lib/kubelet/pki/kubelet-client-current.pem",
		"/var/lib/kubelet/pki/kubelet.crt", "/var/lib/kubelet/pki/kubelet.key",
		"kubelet.conf", "pki/ca.crt",
	}
	if !slices.Equal(got, want) {
		t.Errorf("worker has %q, want %q", got, want)
	}
}

func TestControlPlaneHasKubeadmsFiles(t *testing.T) {
	have := map[string]bool{}
	for _, f := range nodeFiles(t, certs.ECDSA, controlPlane()) {
		have[f.Path] = true
	}
	for _, p := range []string{
		"pki/ca", "pki/front-proxy-ca", "pki/etcd/ca", "pki/apiserver", "pki/apiserver-etcd-client",
		"pki/apiserver-kubelet-client", "pki/front-proxy-client", "pki/etcd/server", "pki/etcd/peer",
		"pki/etcd/healthcheck-client", "/var/lib/kubelet/pki/kubelet",
	} {
		if !have[p+".crt"] || !have[p+".key"] {
			t.Errorf("%s.crt or its key is missing", p)
		}
	}
	for _, p := range []string{
		"pki/sa.key", "pki/sa.pub", "admin.conf", "super-admin.conf", "controller-manager.conf", "scheduler.conf",
		"kubelet.conf", "/var/lib/kubelet/pki/kubelet-client-current.pem",
	} {
		if !have[p] {
			t.Errorf("%s is missing", p)
		}
	}
}

func TestModes(t *testing.T) {
	for _, f := range nodeFiles(t, certs.ECDSA, controlPlane()) {
		private := strings.Contains(string(f.Data), "PRIVATE KEY") || path.Ext(f.Path) == ".conf"
		if private && f.Mode != 0o600 {
			t.Errorf("%s holds a key and has mode %o", f.Path, f.Mode)
		}
		if !private && f.Mode != 0o644 {
			t.Errorf("%s has mode %o, want 644", f.Path, f.Mode)
		}
		if len(f.Data) == 0 {
			t.Errorf("%s is empty", f.Path)
		}
	}
}
