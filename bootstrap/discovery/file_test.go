package discovery_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd/api"

	"slipway.dev/slipway/bootstrap/discovery"
)

func dataOf(t *testing.T, rec *httptest.ResponseRecorder) map[string]string {
	t.Helper()
	var c corev1.ConfigMap
	if err := json.Unmarshal(rec.Body.Bytes(), &c); err != nil {
		t.Fatal(err)
	}
	return c.Data
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// discoveryFile writes a kubeconfig with one cluster and that user.
func discoveryFile(t *testing.T, server string, ca []byte, user *api.AuthInfo) string {
	t.Helper()
	c := api.Config{
		Clusters:       map[string]*api.Cluster{"c": {Server: server, CertificateAuthorityData: ca}},
		Contexts:       map[string]*api.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		AuthInfos:      map[string]*api.AuthInfo{"u": user},
		CurrentContext: "x",
	}
	path := filepath.Join(t.TempDir(), "discovery.conf")
	writeFile(t, path, []byte(writeConfig(t, c)))
	return path
}

func TestFromFile(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.valid(t)
	for name, handler := range map[string]http.HandlerFunc{
		"cluster-info":           configMap(nil),
		"no cluster-info":        status(http.StatusNotFound),
		"nothing for strangers":  status(http.StatusUnauthorized),
		"late":                   inTurn(status(http.StatusServiceUnavailable), configMap(nil)),
		"another cluster's info": signed(t, kubeconfig(t, server, bundle(newAuthority(t))), token(t).Reveal()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, &cert, at(time.Now().Add(-time.Hour), handler))
			path := filepath.Join(t.TempDir(), "discovery.conf")
			writeFile(t, path, []byte(kubeconfig(t, s.URL, bundle(ca))))
			got, user, err := discovery.FromFile(patience(t), path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Server != s.URL || string(got.CA) != string(bundle(ca)) || user != nil {
				t.Errorf("cluster is %q with authority\n%s and user %v", got.Server, got.CA, user)
			}
			if got.ClockSkew < time.Hour || got.ClockSkew > 2*time.Hour {
				t.Errorf("clock skew is %s, want an hour", got.ClockSkew)
			}
		})
	}
}

// TestFromFileCredentials names files relative to the discovery file, as kubectl reads it.
func TestFromFileCredentials(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.valid(t)
	s := serve(t, &cert, configMap(nil))
	for name, c := range map[string]struct {
		user  *api.AuthInfo
		token string // that comes out
		cert  string
		none  bool
	}{
		"nothing":      {user: &api.AuthInfo{}, none: true},
		"a token":      {user: &api.AuthInfo{Token: "t"}, token: "t"},
		"a token file": {user: &api.AuthInfo{TokenFile: "token"}, token: "from-file"},
		"a key":        {user: &api.AuthInfo{ClientCertificateData: []byte("c"), ClientKeyData: []byte("k")}, cert: "c"},
		"key files":    {user: &api.AuthInfo{ClientCertificate: "cert", ClientKey: "cert"}, cert: "from-file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := discoveryFile(t, s.URL, bundle(ca), c.user)
			writeFile(t, filepath.Join(filepath.Dir(path), "token"), []byte("from-file\n"))
			writeFile(t, filepath.Join(filepath.Dir(path), "cert"), []byte("from-file"))
			_, user, err := discovery.FromFile(patience(t), path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.none {
				if user != nil {
					t.Errorf("user is %v, want none", user)
				}
				return
			}
			if user == nil || user.Token != c.token || string(user.ClientCertificateData) != c.cert {
				t.Fatalf("user is %v", user)
			}
			if user.TokenFile+user.ClientCertificate+user.ClientKey != "" {
				t.Errorf("files are still named: %v", user)
			}
		})
	}
}

func TestFromFileInvalid(t *testing.T) {
	const server = "https://127.0.0.1:1" // not asked, unless something invalid is taken for valid
	ca := newAuthority(t)
	one := func(c *api.Cluster) string {
		return writeConfig(t, api.Config{Clusters: map[string]*api.Cluster{"c": c}})
	}
	for name, text := range map[string]string{
		"empty":            "",
		"not a kubeconfig": "<html>",
		"two clusters": writeConfig(t, api.Config{Clusters: map[string]*api.Cluster{
			"a": {Server: server, CertificateAuthorityData: bundle(ca)}, "b": {Server: server, CertificateAuthorityData: bundle(ca)},
		}}),
		"no authority":      one(&api.Cluster{Server: server}),
		"lost authority":    one(&api.Cluster{Server: server, CertificateAuthority: "not-there"}),
		"broken authority":  one(&api.Cluster{Server: server, CertificateAuthorityData: []byte("x")}),
		"not https":         one(&api.Cluster{Server: "http://127.0.0.1:1", CertificateAuthorityData: bundle(ca)}),
		"verifies nothing":  one(&api.Cluster{Server: server, CertificateAuthorityData: bundle(ca), InsecureSkipTLSVerify: true}),
		"context not there": kubeconfig(t, server, bundle(ca)) + "\ncurrent-context: other\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "discovery.conf")
			writeFile(t, path, []byte(text))
			_, _, err := discovery.FromFile(patience(t), path, nil)
			wantFault(t, err, "discovery-file-invalid", path)
		})
	}
	_, _, err := discovery.FromFile(patience(t), filepath.Join(t.TempDir(), "none"), nil)
	wantFault(t, err, "discovery-file-invalid")
	_, _, err = discovery.FromFile(patience(t), discoveryFile(t, server, bundle(ca), &api.AuthInfo{TokenFile: "none"}), nil)
	wantFault(t, err, "discovery-file-invalid")
}

func TestFromFileUntrusted(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cert := other.valid(t)
	s := serve(t, &cert, configMap(nil))
	_, _, err := discovery.FromFile(patience(t), discoveryFile(t, s.URL, bundle(ca), &api.AuthInfo{Token: "t"}), nil)
	wantFault(t, err, "endpoint-untrusted")
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests to a server that is not trusted", n)
	}

	cert = ca.serving(t, "127.0.0.1", 30*time.Minute, 2*time.Hour)
	s = serve(t, &cert, at(time.Now().Add(time.Hour), configMap(nil)))
	_, _, err = discovery.FromFile(patience(t), discoveryFile(t, s.URL, bundle(ca), &api.AuthInfo{}), nil)
	wantFault(t, err, "clock-skew")
}

func TestFromFileNotKubernetes(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.valid(t)
	s := serve(t, &cert, html(http.StatusOK))
	_, _, err := discovery.FromFile(patience(t), discoveryFile(t, s.URL, bundle(ca), &api.AuthInfo{}), nil)
	wantFault(t, err, "endpoint-not-kubernetes")
}
