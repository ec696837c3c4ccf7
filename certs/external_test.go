package certs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/certs"
)

// withExternalEtcd gives the cluster and a control plane of it, which has etcd's authority without the key, and a client's
// certificate that another authority has signed.
func withExternalEtcd(t *testing.T) (certs.Cluster, tree) {
	t.Helper()
	c := cluster()
	c.ExternalEtcd = true
	a, err := certs.LoadAuthorities(tree{}.read, now(), c.External()...)
	if err != nil {
		t.Fatal(err)
	}
	if missing := a.Missing(); slices.Contains(missing, certs.EtcdCA) || len(missing) != 3 {
		t.Errorf("missing: %q", missing)
	}
	if err := a.Complete(certs.ECDSA, now()); err != nil {
		t.Fatal(err)
	}
	files, err := a.NodeFiles(c, controlPlane(), now())
	if err != nil {
		t.Fatal(err)
	}
	host := treeOf(files)
	for path := range host {
		if strings.Contains(path, "etcd") {
			t.Errorf("the cluster makes %s", path)
		}
	}
	theirs, others := treeOf(nodeFiles(t, certs.ECDSA, controlPlane())), treeOf(nodeFiles(t, certs.RSA, controlPlane()))
	host["pki/etcd/ca.crt"] = theirs["pki/etcd/ca.crt"]
	copyFrom(host, others, "pki/apiserver-etcd-client.crt", "pki/apiserver-etcd-client.key")
	return c, host
}

func copyFrom(to, from tree, paths ...string) {
	for _, p := range paths {
		to[p] = from[p]
	}
}

func TestExternalEtcdIsLeftAlone(t *testing.T) {
	c, host := withExternalEtcd(t)
	if _, err := certs.LoadAuthorities(host.read, now()); err == nil {
		t.Error("an authority without its key was taken for the cluster's own")
	}
	a, err := certs.LoadAuthorities(host.read, now(), c.External()...)
	if err != nil {
		t.Fatal(err)
	}
	files, err := a.Renew(c, controlPlane(), nil, host.read, now())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.Contains(f.Path, "etcd") {
			t.Errorf("%s was renewed", f.Path)
		}
	}
	_, err = a.Renew(c, controlPlane(), []string{"apiserver-etcd-client", "apiserver"}, host.read, now())
	checkFaults(t, err, "certificate-external", "signs elsewhere")
}

func TestCheckOfExternalEtcd(t *testing.T) {
	c, host := withExternalEtcd(t)
	root := t.TempDir()
	for path, data := range host {
		if filepath.IsAbs(path) {
			continue // the kubelet's, of which the link would lead out of the directory
		}
		full := filepath.Join(root, "etc/kubernetes", path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for when, want := range map[time.Time][]string{
		now(): nil, now().Add(350 * 24 * time.Hour): {"expires-soon"}, now().Add(400 * 24 * time.Hour): {"expired"},
	} {
		list, err := certs.Check(root, c, controlPlane(), when)
		if err != nil {
			t.Fatal(err)
		}
		external := map[string]bool{}
		for _, s := range list {
			external[s.Name] = s.External
			if s.Name != "apiserver-etcd-client" {
				continue
			}
			var got []string
			for _, f := range s.Findings {
				got = append(got, string(f.Kind))
			}
			if !slices.Equal(got, want) {
				t.Errorf("on %v: %q, want %q", when, got, want)
			}
		}
		if !external["apiserver-etcd-client"] || !external[certs.EtcdCA] || external["apiserver"] || external[certs.ClusterCA] {
			t.Errorf("external: %v", external)
		}
	}
	list, err := certs.Check(root, cluster(), controlPlane(), now())
	if err != nil || !slices.Contains(findings(list), "apiserver-etcd-client other-authority") {
		t.Errorf("as the cluster's own it is well: %v", err)
	}
}
