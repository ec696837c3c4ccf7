package doctor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// manifest is a static pod that is asked for its health there.
func (r root) manifest(t *testing.T, name, address, path string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, "/etc/kubernetes/manifests/"+name+".yaml", fmt.Sprintf(`{metadata: {name: %[1]s, namespace: kube-system}, spec: {containers: [{name: %[1]s,
		readinessProbe: {httpGet: {host: %[2]s, port: %[3]s, path: %[4]s, scheme: %[5]s}}}]}}`,
		name, u.Hostname(), u.Port(), path, strings.ToUpper(u.Scheme)))
}

// part answers as the parts of the control plane do.
func part(t *testing.T, tls bool, wantPath string, status int, text string) string {
	t.Helper()
	handler := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if _, verbose := q.URL.Query()["verbose"]; !verbose || q.URL.Path != wantPath {
			t.Errorf("asked for %s", q.URL)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	})
	s := httptest.NewUnstartedServer(handler)
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.URL
}

func TestHealth(t *testing.T) {
	const failing = "[+]ping ok\n[-]etcd failed: reason withheld\n[-]informer-sync failed: reason withheld\nreadyz check failed\n"
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), controlPlane(), true)
	r.manifest(t, "etcd", part(t, false, "/readyz", http.StatusOK, "ok"), "/readyz")
	r.manifest(t, "kube-apiserver", part(t, true, "/readyz", http.StatusInternalServerError, failing), "/readyz")
	r.manifest(t, "kube-controller-manager", part(t, true, "/healthz", http.StatusServiceUnavailable, "no"), `"/healthz?exclude=x"`)
	closed := httptest.NewServer(nil)
	closed.Close()
	r.manifest(t, "kube-scheduler", closed.URL, "/readyz")
	r.write(t, "/etc/kubernetes/manifests/other.yaml", `{metadata: {name: other}, spec: {containers: [{name: other}]}}`)
	expect(t, r.examine(t, "health"), fine("etcd is well"), problem("kube-apiserver is not well: etcd, informer-sync", "500"),
		problem("kube-controller-manager is not well: Service Unavailable"), problem("kube-scheduler does not answer", "refused"), fine("other is not asked"))
}

// TestHealthAtANamedPort is how kubeadm writes it: without a host, with the port's name.
func TestHealthAtANamedPort(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), controlPlane(), true)
	u, err := url.Parse(part(t, true, "/livez", http.StatusOK, "ok"))
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, "/etc/kubernetes/manifests/kube-apiserver.yaml", fmt.Sprintf(`{metadata: {name: kube-apiserver}, spec: {containers: [{name: kube-apiserver,
		ports: [{name: probe-port, containerPort: %s}], livenessProbe: {httpGet: {port: probe-port, path: /livez, scheme: HTTPS}}}]}}`, u.Port()))
	expect(t, r.examine(t, "health"), fine("kube-apiserver is well"))
}
