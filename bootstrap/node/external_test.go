package node

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/certs"
)

// externalSpec is that of a control plane whose etcd is elsewhere; in the fleet it would be given a client's files.
func externalSpec(t *testing.T, joins bool) *bootstrap.NodeSpec {
	t.Helper()
	s := *testSpecs(t)[0]
	s.Cluster.ExternalEtcd = []string{"https://a.example:2379", "https://b.example:2379"}
	s.Node.Init, s.Node.Joins = false, joins
	cas, err := certs.LoadAuthorities(certs.Host(t.TempDir()), time.Now(), fleet.PKI(s.Cluster).External()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := cas.Complete(certs.ECDSA, time.Now()); err != nil {
		t.Fatal(err)
	}
	made, err := fleet.NewSpec(s.Cluster, s.Node, cas, "/bundle", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestExternalEtcd: no member, first or joining, and the API server is told where etcd is.
func TestExternalEtcd(t *testing.T) {
	b := realBundle(t)
	for _, joins := range []bool{false, true} {
		s := externalSpec(t, joins)
		if slices.ContainsFunc(s.Files, func(f engine.File) bool { return strings.Contains(f.Path, "etcd") }) {
			t.Error("files of etcd are made")
		}
		steps, err := Steps(t.Context(), s, testHost(t), b)
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.Validate(steps); err != nil {
			t.Error(err)
		}
		var change []string
		for _, step := range steps {
			if step.Name == "etcd" {
				t.Error("there is a step for a member")
			}
			if slices.Contains([]string{"static-pods", "directories", "images"}, step.Name) {
				what, err := step.Check(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				change = append(change, what...)
			}
		}
		if all := strings.Join(change, "\n"); strings.Contains(all, "/var/lib/etcd") || strings.Contains(all, "etcd.yaml") ||
			strings.Contains(all, "image etcd") || !strings.Contains(all, "kube-apiserver.yaml") {
			t.Errorf("it would change\n%s", all)
		}
	}
	n := testBuilder(t, externalSpec(t, false))
	if want := "--etcd-servers=https://a.example:2379,https://b.example:2379"; !slices.Contains(n.apiServer().args, want) {
		t.Errorf("the API server lacks %s: %v", want, n.apiServer().args)
	}
}

// TestKubeadmOfExternalEtcd holds what `kubeadm join` reads.
func TestKubeadmOfExternalEtcd(t *testing.T) {
	for name, tt := range map[string]struct {
		spec *bootstrap.NodeSpec
		want string
	}{
		"external": {externalSpec(t, false), `{"external":{"caFile":"/etc/kubernetes/pki/etcd/ca.crt","certFile":"/etc/kubernetes/pki/apiserver-etcd-client.crt",` +
			`"endpoints":["https://a.example:2379","https://b.example:2379"],"keyFile":"/etc/kubernetes/pki/apiserver-etcd-client.key"}}`},
		"own": {testSpecs(t)[0], `{"local":{"dataDir":"/var/lib/etcd",`},
	} {
		got, err := json.Marshal(testBuilder(t, tt.spec).clusterConfiguration()["etcd"])
		if err != nil || !strings.HasPrefix(string(got), tt.want) {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}
