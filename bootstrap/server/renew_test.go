package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/certs"
)

// renewalOf is a run on a made-up host; restarted gets what would have been restarted.
func renewalOf(t *testing.T, h *server, names ...string) (r *renewal, restarted *[]string, journal *engine.Journal) {
	t.Helper()
	journal, err := engine.OpenJournal(filepath.Join(t.TempDir(), "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	restarted = &[]string{}
	return &renewal{
		root: h.root, state: h.state, names: names, host: engine.NewHost(journal),
		cluster: func(context.Context) (bootstrap.Cluster, error) {
			return bootstrap.Cluster{}, errors.New("it is silent")
		},
		restart: func(_ context.Context, component, node string, _ func(string)) error {
			list, err := certs.Check(h.root, certs.Cluster{}, certs.Node{}, time.Now())
			i := slices.IndexFunc(list, func(s certs.Status) bool { return "kube-"+s.Name == component+".conf" })
			if err != nil || i < 0 || list[i].Remaining < 360*day {
				t.Errorf("%s is restarted before its new certificate is there: %v, %v", component, list, err)
			}
			*restarted = append(*restarted, component+" on "+node)
			return nil
		},
	}, restarted, journal
}

func quiet(engine.Event) {}

func (h *server) leaf(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	leaf, err := leafAt(h.root, path)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func certNames(list []certs.Status) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Name)
	}
	return out
}

// allRenewable is the table without what the kubelet renews.
func allRenewable() []string {
	var out []string
	for _, e := range certs.Table() {
		if e.Form != certs.Rotated {
			out = append(out, e.Name)
		}
	}
	return out
}

func TestRenewAll(t *testing.T) {
	h := newServer(t, 350*day)
	if _, err := checkCertificates(h.root, h.state, time.Now().Add(20*day)); err == nil {
		t.Fatal("the certificates are good for longer than this test wants")
	}
	before := h.leaf(t, "pki/apiserver.crt")
	ca, kubelet := h.read(t, "/etc/kubernetes/pki/ca.crt"), h.read(t, "/etc/kubernetes/kubelet.conf")
	r, restarted, journal := renewalOf(t, h)
	out, err := r.run(t.Context(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if got := certNames(out.Certificates); !slices.Equal(got, allRenewable()) {
		t.Errorf("renewed %q, want %q", got, allRenewable())
	}
	for _, s := range out.Certificates {
		if s.Remaining < 360*day || len(s.Findings) > 0 {
			t.Errorf("%s: %v left, %v", s.Name, s.Remaining, s.Findings)
		}
	}
	want := []string{"kube-controller-manager on n1", "kube-scheduler on n1"}
	if !slices.Equal(*restarted, want) || !slices.Equal(out.Restarted, []string{"kube-controller-manager", "kube-scheduler"}) {
		t.Errorf("restarted %q, said %q", *restarted, out.Restarted)
	}
	if after := h.leaf(t, "pki/apiserver.crt"); !slices.Equal(after.DNSNames, before.DNSNames) || bytes.Equal(after.RawSubjectPublicKeyInfo, before.RawSubjectPublicKeyInfo) {
		t.Errorf("names %q, before %q", after.DNSNames, before.DNSNames)
	}
	if !bytes.Equal(ca, h.read(t, "/etc/kubernetes/pki/ca.crt")) || !bytes.Equal(kubelet, h.read(t, "/etc/kubernetes/kubelet.conf")) {
		t.Error("changed more than certificates")
	}
	if out.Warning != "" {
		t.Errorf("warned: %s", out.Warning)
	}
	// What was there is in the journal.
	i := slices.IndexFunc(journal.Entries(), func(e engine.Entry) bool { return e.Name == h.path("/etc/kubernetes/pki/apiserver.crt") })
	if i < 0 || !bytes.Contains(journal.Entries()[i].Content, []byte("BEGIN CERTIFICATE")) {
		t.Errorf("the journal has %d entries, and not what was there", len(journal.Entries()))
	}
}

func TestRenewSome(t *testing.T) {
	h := newServer(t, 100*day)
	admin := h.read(t, "/etc/kubernetes/admin.conf")
	h.remove(t, "/etc/kubernetes/pki/etcd/peer.crt")
	r, restarted, _ := renewalOf(t, h, "scheduler.conf", "etcd-peer")
	out, err := r.run(t.Context(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if got := certNames(out.Certificates); !slices.Equal(got, []string{"etcd-peer", "scheduler.conf"}) {
		t.Errorf("renewed %q", got)
	}
	if !slices.Equal(*restarted, []string{"kube-scheduler on n1"}) {
		t.Errorf("restarted %q", *restarted)
	}
	if !bytes.Equal(admin, h.read(t, "/etc/kubernetes/admin.conf")) {
		t.Error("admin.conf was not asked for")
	}
	if st, err := os.Stat(h.path("/etc/kubernetes/pki/etcd/peer.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", st, err)
	}
}

// TestRenewFaults wants nothing written.
func TestRenewFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*testing.T, *server)
		names  []string
		ids    []string
	}{
		"unknown":      {nil, []string{"apiserver", "x", "kubelet-client"}, []string{"certificate-unknown", "certificate-unknown"}},
		"worker":       {func(_ *testing.T, h *server) { h.state.Spec.Node.ControlPlane = false }, nil, []string{"authority-missing"}},
		"unfinished":   {func(_ *testing.T, h *server) { h.state.Done = false }, nil, []string{"node-unfinished"}},
		"no authority": {func(t *testing.T, h *server) { h.remove(t, "/etc/kubernetes/pki/etcd/ca.key") }, nil, []string{"authority-invalid"}},
		"no node":      {func(_ *testing.T, h *server) { h.state = nil }, nil, []string{"not-a-node"}},
		"kubeadm's worker": {func(t *testing.T, h *server) {
			h.asKubeadms(t).remove(t, "/etc/kubernetes/manifests/kube-apiserver.yaml")
		}, nil, []string{"not-a-node"}},
		"kubeadm's, of which nothing is known": {func(t *testing.T, h *server) {
			h.asKubeadms(t).remove(t, "/etc/kubernetes/pki/apiserver.crt")
		}, []string{"apiserver"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newServer(t, 100*day)
			if tt.change != nil {
				tt.change(t, h)
			}
			before := h.read(t, "/etc/kubernetes/pki/apiserver.key")
			r, restarted, journal := renewalOf(t, h, tt.names...)
			out, err := r.run(t.Context(), quiet)
			if out != nil || err == nil {
				t.Fatalf("gave %v, %v", out, err)
			}
			wantFaults(t, err, tt.ids...)
			if !bytes.Equal(before, h.read(t, "/etc/kubernetes/pki/apiserver.key")) || len(*restarted)+len(journal.Entries()) > 0 {
				t.Error("something was changed")
			}
		})
	}
}

// TestRenewOnKubeadms: the cluster is asked what it is, and when it is silent the names stay that the certificates have.
func TestRenewOnKubeadms(t *testing.T) {
	asked := testCluster()
	asked.ExtraSANs = []string{"new.example"}
	for name, tt := range map[string]struct {
		cluster func(context.Context) (bootstrap.Cluster, error)
		want    []string
		without string
	}{
		"answers": {func(context.Context) (bootstrap.Cluster, error) { return asked, nil }, []string{"new.example", "api.example", "n1", "192.0.2.11", "10.96.0.1"}, ""},
		"silent":  {nil, []string{"api.example", "n1", "192.0.2.11", "10.96.0.1"}, "new.example"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newServer(t, 350*day).asKubeadms(t)
			r, restarted, _ := renewalOf(t, h)
			if tt.cluster != nil {
				r.cluster = tt.cluster
			}
			out, err := r.run(t.Context(), quiet)
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Certificates) != len(allRenewable()) || len(*restarted) != 2 || (out.Warning == "") != (tt.cluster != nil) {
				t.Errorf("got %q, restarted %q, warning %q", certNames(out.Certificates), *restarted, out.Warning)
			}
			leaf := h.leaf(t, "pki/apiserver.crt")
			for _, host := range tt.want {
				if err := leaf.VerifyHostname(host); err != nil {
					t.Error(err)
				}
			}
			if tt.without != "" && leaf.VerifyHostname(tt.without) == nil {
				t.Errorf("names %q", leaf.DNSNames)
			}
		})
	}
}

// TestRestartFails wants both tried, and both named.
func TestRestartFails(t *testing.T) {
	h := newServer(t, 100*day)
	r, _, _ := renewalOf(t, h)
	r.restart = restartOn(filepath.Join(t.TempDir(), "none.sock"))
	out, err := r.run(t.Context(), quiet)
	if out != nil {
		t.Errorf("gave %v", out)
	}
	wantFaults(t, err, "static-pod-not-restarted")
	for _, component := range []string{"kube-controller-manager", "kube-scheduler"} {
		if !strings.Contains(err.Error(), component) {
			t.Errorf("does not name %s: %v", component, err)
		}
	}
	if leaf := h.leaf(t, "pki/apiserver.crt"); time.Until(leaf.NotAfter) < 360*day {
		t.Error("what could be done was not")
	}
}

func TestKubeadmNode(t *testing.T) {
	h := newServer(t, day).asKubeadms(t)
	n, err := kubeadmNode(h.root)
	if err != nil || n.Name != "n1" || !n.ControlPlane || !slices.Equal(n.Addresses, []netip.Addr{netip.MustParseAddr("192.0.2.11")}) {
		t.Errorf("got %+v, %v", n, err)
	}
	const manifest, kubelet = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/var/lib/kubelet/pki/kubelet-client-current.pem"
	for name, change := range map[string]func(h *server){
		"no address":     func(h *server) { h.write(t, manifest, []byte("spec: {containers: [{name: a, command: [x]}]}")) },
		"no manifest":    func(h *server) { h.write(t, manifest, []byte("{")) },
		"another's name": func(h *server) { h.write(t, kubelet, h.read(t, "/etc/kubernetes/pki/apiserver.crt")) },
		"no certificate": func(h *server) { h.write(t, kubelet, nil) },
	} {
		h := newServer(t, day).asKubeadms(t)
		change(h)
		if n, err := kubeadmNode(h.root); err == nil {
			t.Errorf("%s: got %+v", name, n)
		}
	}
}

// TestAskCluster: where kubeadm made it, the endpoint is the administrator's.
func TestAskCluster(t *testing.T) {
	_, err := askCluster(t.Context(), filepath.Join(t.TempDir(), "none"))
	wantFaults(t, err, "kubeconfig-unreadable")
	s := apiServer(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kubeadm-config"}, Data: map[string]string{
		"ClusterConfiguration": "clusterName: theirs\nnetworking: {serviceSubnet: 10.96.0.0/12, dnsDomain: x.local}\napiServer: {certSANs: [a.example]}\n",
	}})
	c, err := askCluster(t.Context(), kubeconfigFor(t, s.URL))
	if err != nil {
		t.Fatal(err)
	}
	if "http://"+c.Endpoint != s.URL || c.Name != "theirs" || c.DNSDomain != "x.local" || !slices.Equal(c.ExtraSANs, []string{"a.example"}) {
		t.Errorf("got %+v", c)
	}
}
