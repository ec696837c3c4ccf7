package server

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

func testCluster() bootstrap.Cluster {
	return bootstrap.Cluster{
		Name: "t", DNSDomain: "cluster.local", ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), Endpoint: "api.example:6443",
	}
}

func testNode() bootstrap.Node {
	return bootstrap.Node{Name: "n1", Address: netip.MustParseAddr("192.0.2.11"), ControlPlane: true}
}

// server is a made-up host below a directory, with real certificates.
type server struct {
	root  string
	state *state
}

// newServer has certificates of the given age.
func newServer(t *testing.T, age time.Duration) *server {
	t.Helper()
	c, n, made := testCluster(), testNode(), time.Now().Add(-age)
	cas, err := certs.NewAuthorities(certs.ECDSA, made)
	if err != nil {
		t.Fatal(err)
	}
	files, err := cas.NodeFiles(fleet.PKI(c), pkiNode(n), made)
	if err != nil {
		t.Fatal(err)
	}
	h := &server{root: t.TempDir(), state: &state{Done: true, Spec: &bootstrap.NodeSpec{Cluster: c, Node: n}}}
	for _, f := range fleet.Identity(files) {
		if f.Link != "" {
			h.mkdir(t, f.Path)
			if err := os.Symlink(f.Link, h.path(f.Path)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		h.write(t, f.Path, f.Data)
		if err := os.Chmod(h.path(f.Path), f.Mode); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *server) path(name string) string { return filepath.Join(h.root, name) }

func (h *server) mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (h *server) write(t *testing.T, name string, data []byte) {
	t.Helper()
	h.mkdir(t, name)
	if err := os.Remove(h.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) { // a link would lead out of the directory
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h *server) read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(h.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (h *server) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(h.path(name)); err != nil {
		t.Fatal(err)
	}
}

// asKubeadms forgets that Slipway made it, and has the manifest by which its address is found.
func (h *server) asKubeadms(t *testing.T) *server {
	t.Helper()
	h.state = nil
	manifest, err := yaml.Marshal(corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "kube-apiserver", Command: []string{"kube-apiserver", "--advertise-address=192.0.2.11", "--allow-privileged=true"},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, "/etc/kubernetes/manifests/kube-apiserver.yaml", manifest)
	return h
}

func clusterInfo(t *testing.T, servers ...string) *corev1.ConfigMap {
	t.Helper()
	cas, err := certs.NewAuthorities(certs.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files := cas.Files()
	ca := files[slices.IndexFunc(files, func(f certs.File) bool { return f.Path == "pki/ca.crt" })].Data
	clusters := map[string]*api.Cluster{}
	for _, s := range servers {
		clusters[s] = &api.Cluster{Server: s, CertificateAuthorityData: ca}
	}
	data, err := clientcmd.Write(api.Config{Clusters: clusters})
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "cluster-info"}, Data: map[string]string{"kubeconfig": string(data)},
	}
}

func secretNames(t *testing.T, c *fake.Clientset) []string {
	t.Helper()
	list, err := c.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, s := range list.Items {
		out = append(out, s.Name)
	}
	return out
}

// wantFaults wants exactly these faults, in order.
func wantFaults(t *testing.T, err error, ids ...string) {
	t.Helper()
	var got []string
	for _, f := range fault.All(err) {
		got = append(got, f.ID)
	}
	if !slices.Equal(got, ids) {
		t.Fatalf("got faults %q (%v), want %q", got, err, ids)
	}
}

// apiServer serves these ConfigMaps, and nothing else.
func apiServer(t *testing.T, maps ...*corev1.ConfigMap) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for _, m := range maps {
		m.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}
		mux.HandleFunc("GET /api/v1/namespaces/"+m.Namespace+"/configmaps/"+m.Name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(m) // a client that goes away fails its own test
		})
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}
