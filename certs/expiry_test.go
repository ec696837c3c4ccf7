package certs_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/slipway/certs"
)

func TestExpiry(t *testing.T) {
	dir := t.TempDir()
	files := treeOf(nodeFiles(t, certs.ECDSA, controlPlane()))
	var paths []string
	for _, p := range []string{"pki/apiserver.crt", "admin.conf", "kubelet.conf", "/var/lib/kubelet/pki/kubelet-client-current.pem"} {
		dst := filepath.Join(dir, filepath.Base(p))
		if err := os.WriteFile(dst, files[p], 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, dst)
	}
	got, err := certs.Expiry(paths...)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"CN=kube-apiserver", "CN=kubernetes-admin,O=kubeadm:cluster-admins", "CN=system:node:dev-cp-1,O=system:nodes"}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i, c := range got {
		if c.Subject != want[i] || !c.NotAfter.Equal(now().Add(365*24*time.Hour-5*time.Minute)) {
			t.Errorf("got %v", c)
		}
	}
	if _, err := certs.Expiry(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing file has an expiry date")
	}
}
