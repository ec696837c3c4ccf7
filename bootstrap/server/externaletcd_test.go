package server

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

// theirs are the files of an etcd that is somebody else's, below a directory.
type theirs string

func newTheirs(t *testing.T, age time.Duration) theirs {
	t.Helper()
	h := newServer(t, age)
	dir := t.TempDir()
	for to, from := range map[string]string{"ca.crt": "etcd/ca.crt", "client.crt": "apiserver-etcd-client.crt", "client.key": "apiserver-etcd-client.key"} {
		if err := os.WriteFile(filepath.Join(dir, to), h.read(t, "/etc/kubernetes/pki/"+from), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return theirs(dir)
}

func (d theirs) path(name string) string { return filepath.Join(string(d), name) }

func (d theirs) option(urls ...string) *ExternalEtcd {
	return &ExternalEtcd{Endpoints: urls, CAFile: d.path("ca.crt"), CertFile: d.path("client.crt"), KeyFile: d.path("client.key")}
}

func (d theirs) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestExternalEtcdIsRead: all that is wrong is said at once.
func TestExternalEtcdIsRead(t *testing.T) {
	const good = "https://etcd.example:2379"
	for name, tt := range map[string]struct {
		urls   []string
		age    time.Duration
		change func(*testing.T, theirs, *ExternalEtcd)
		want   []string // parts of the problems, in order
	}{
		"all is well": {urls: []string{good, "https://203.0.113.5:2379", "https://[2001:db8::1]:2379"}},
		"URLs": {urls: []string{good, "http://a:2379", "https://a", "https://:2379", "https://a:0", "https://a:65536", "https://a:2379/", "https://u@a:2379", good, "a:2379", ":"},
			want: []string{`"http://a:2379": it does not begin with https`, `"https://a": it has no port`, "no host", `:0": it has no port`, "no port",
				"more than host", "more than host", "twice", "begin with https", "missing protocol"}},
		"no URL": {want: []string{"endpoints"}},
		"nothing": {change: func(_ *testing.T, _ theirs, e *ExternalEtcd) { *e = ExternalEtcd{} },
			want: []string{"endpoints", "caFile \"\": there is none", "certFile \"\"", "keyFile \"\""}},
		"not there": {urls: []string{good}, change: func(_ *testing.T, d theirs, e *ExternalEtcd) { e.CertFile, e.KeyFile = d.path("x"), string(d) },
			want: []string{"x: no such file", "is a directory"}},
		"no PEM": {urls: []string{good}, change: func(t *testing.T, d theirs, _ *ExternalEtcd) { d.write(t, "ca.crt", ""); d.write(t, "client.crt", "x") },
			want: []string{"caFile", "certFile"}},
		"key is no PEM":       {urls: []string{good}, change: func(t *testing.T, d theirs, _ *ExternalEtcd) { d.write(t, "client.key", "") }, want: []string{"keyFile"}},
		"expired":             {urls: []string{good}, age: 400 * day, want: []string{"expired on"}},
		"authority expired":   {urls: []string{good}, age: 11 * 365 * day, want: []string{"caFile", "certFile"}},
		"clock":               {urls: []string{good}, age: -day, want: []string{"not valid before", "not valid before"}},
		"another's key":       {urls: []string{good}, change: func(t *testing.T, d theirs, e *ExternalEtcd) { e.KeyFile = newTheirs(t, 0).path("client.key") }, want: []string{"private key does not match"}},
		"everybody's key":     {urls: []string{good}, change: func(t *testing.T, d theirs, _ *ExternalEtcd) { _ = os.Chmod(d.path("client.key"), 0o604) }, want: []string{"mode 0604"}},
		"a group's key":       {urls: []string{good}, change: func(t *testing.T, d theirs, _ *ExternalEtcd) { _ = os.Chmod(d.path("client.key"), 0o640) }},
		"authority with more": {urls: []string{good}, change: withOldAuthority},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTheirs(t, tt.age)
			e := d.option(tt.urls...)
			if tt.change != nil {
				tt.change(t, d, e)
			}
			_, err := e.read(time.Now())
			all := fault.All(err)
			if len(all) != len(tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for i, f := range all {
				if f.ID != "external-etcd-invalid" || !strings.Contains(f.Error(), tt.want[i]) || f.Next == "" {
					t.Errorf("got [%s] %v, want %q", f.ID, f, tt.want[i])
				}
			}
		})
	}
}

// withOldAuthority is how an authority is replaced: the old one stays beside the new one for a while.
func withOldAuthority(t *testing.T, d theirs, e *ExternalEtcd) {
	old, err := os.ReadFile(newTheirs(t, 11*365*day).path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(e.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "ca.crt", string(old)+string(now))
}

func kubeadmConfig(text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kubeadm-config"}, Data: map[string]string{"ClusterConfiguration": text},
	}
}

// TestKubeadmsExternalEtcd: a cluster of kubeadm's says where its etcd is, and its files are shared from where they lie.
func TestKubeadmsExternalEtcd(t *testing.T) {
	h := newServer(t, day).asKubeadms(t)
	for name, from := range map[string]string{"a.crt": "etcd/ca.crt", "b.crt": "apiserver-etcd-client.crt", "b.key": "apiserver-etcd-client.key"} {
		from = "/etc/kubernetes/pki/" + from
		h.write(t, "/srv/etcd/"+name, h.read(t, from))
		h.remove(t, from)
	}
	c := fake.NewClientset(kubeadmConfig(`
clusterName: theirs
kubernetesVersion: v1.37.1
networking: {dnsDomain: cluster.local, serviceSubnet: 10.96.0.0/12}
etcd: {external: {endpoints: ["https://192.0.2.7:2379"], caFile: /srv/etcd/a.crt, certFile: /srv/etcd/b.crt, keyFile: /srv/etcd/b.key}}
`))
	got, err := readCluster(t.Context(), c)
	if err != nil || !slices.Equal(got.ExternalEtcd, []string{"https://192.0.2.7:2379"}) || !got.Kubeadm {
		t.Fatalf("got %+v, %v", got, err)
	}
	key, err := invite.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := uploadCertificates(t.Context(), c, key, certs.Host(h.root)); err != nil {
		t.Fatal(err)
	}
	shared, err := invite.DownloadCertificates(t.Context(), c, key)
	if err != nil {
		t.Fatal(err)
	}
	n := bootstrap.Node{Name: "n2", Address: testNode().Address, ControlPlane: true, Joins: true}
	got.Endpoint = "api.example:6443"
	spec, err := controlPlane(got, n, shared, "/bundle")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range spec.Files {
		if strings.Contains(f.Path, "etcd") {
			files[f.Path] = string(f.Data)
		}
	}
	if want := map[string]string{
		"/etc/kubernetes/pki/etcd/ca.crt":               string(h.read(t, "/srv/etcd/a.crt")),
		"/etc/kubernetes/pki/apiserver-etcd-client.crt": string(h.read(t, "/srv/etcd/b.crt")),
		"/etc/kubernetes/pki/apiserver-etcd-client.key": string(h.read(t, "/srv/etcd/b.key")),
	}; !maps.Equal(files, want) {
		t.Errorf("it gets %v", slices.Sorted(maps.Keys(files)))
	}
}

// TestExternalCertificates: whoever runs etcd is named, not `slipway certs renew`.
func TestExternalCertificates(t *testing.T) {
	h := newServer(t, 400*day)
	h.state.Spec.Cluster.ExternalEtcd = []string{"https://192.0.2.7:2379"}
	h.remove(t, "/etc/kubernetes/pki/etcd/ca.key")
	_, err := checkCertificates(h.root, h.state, time.Now())
	for _, f := range fault.All(err) {
		if etcds := strings.Contains(f.Op, "etcd"); etcds != strings.Contains(f.Next, "whoever runs etcd") {
			t.Errorf("%s: next %s", f.Op, f.Next)
		}
	}
	if !fleet.PKI(h.state.Spec.Cluster).ExternalEtcd {
		t.Error("the certificates' table does not know")
	}
}
