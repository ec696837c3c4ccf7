package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

func TestCreateToken(t *testing.T) {
	const text = "abcdef.0123456789abcdef"
	key := strings.Repeat("0a", 32)
	for name, tt := range map[string]struct {
		options TokenOptions
		join    string // in the command; empty: there is none
		without string
		expires bool
	}{
		"plain":           {TokenOptions{Token: text, TTL: time.Hour}, "", "", true},
		"forever":         {TokenOptions{Token: text}, "", "", false},
		"a worker's":      {TokenOptions{Token: text, TTL: time.Hour, JoinCommand: true}, "slipway join api.example:6443 --token " + text, "--control-plane", true},
		"a control plane": {TokenOptions{Token: text, TTL: time.Hour, CertificateKey: key}, "--control-plane --certificate-key " + key, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := fake.NewClientset(clusterInfo(t, "https://api.example:6443"))
			got, err := CreateToken(t.Context(), c, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if got.Token != text || got.Expires.IsZero() == tt.expires || got.CertificateKey != tt.options.CertificateKey {
				t.Errorf("got %+v", got)
			}
			if !strings.Contains(got.JoinCommand, tt.join) || (got.JoinCommand == "") != (tt.join == "") {
				t.Errorf("join with %q", got.JoinCommand)
			}
			if tt.without != "" && strings.Contains(got.JoinCommand, tt.without) {
				t.Errorf("join with %q", got.JoinCommand)
			}
			if names := secretNames(t, c); !slices.Equal(names, []string{"bootstrap-token-abcdef"}) {
				t.Errorf("made %q", names)
			}
		})
	}
}

func TestCreateRandomTokens(t *testing.T) {
	c := fake.NewClientset()
	for range 2 {
		if _, err := CreateToken(t.Context(), c, TokenOptions{TTL: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	if names := secretNames(t, c); len(names) != 2 {
		t.Errorf("made %q", names)
	}
}

// TestCreateTokenFails wants all problems at once, and nothing made.
func TestCreateTokenFails(t *testing.T) {
	c := fake.NewClientset()
	_, err := CreateToken(t.Context(), c, TokenOptions{Token: "x", TTL: -time.Hour, CertificateKey: "y"})
	wantFaults(t, err, "option-invalid", "token-invalid", "certificate-key-invalid")
	_, err = CreateToken(t.Context(), c, TokenOptions{TTL: time.Hour, JoinCommand: true})
	wantFaults(t, err, "cluster-info-unusable")
	for name, servers := range map[string][]string{"none": nil, "two": {"https://a:1", "https://b:1"}, "no URL": {"::"}} {
		c := fake.NewClientset(clusterInfo(t, servers...))
		if _, err := CreateToken(t.Context(), c, TokenOptions{JoinCommand: true}); err == nil || len(secretNames(t, c)) != 0 {
			t.Errorf("%s: %v, made %q", name, err, secretNames(t, c))
		}
	}
	if names := secretNames(t, c); len(names) != 0 {
		t.Errorf("made %q", names)
	}
}

func TestDeleteTokens(t *testing.T) {
	c := fake.NewClientset()
	for _, text := range []string{"aaaaaa.0123456789abcdef", "bbbbbb.0123456789abcdef", "cccccc.0123456789abcdef"} {
		if _, err := CreateToken(t.Context(), c, TokenOptions{Token: text}); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := DeleteTokens(t.Context(), c, []string{"dddddd", "bbbbbb", "?", "cccccc.0123456789abcdef"})
	wantFaults(t, err, "token-unknown", "token-invalid")
	if !slices.Equal(gone, []string{"bbbbbb", "cccccc"}) {
		t.Errorf("gone are %q", gone)
	}
	if names := secretNames(t, c); !slices.Equal(names, []string{"bootstrap-token-aaaaaa"}) {
		t.Errorf("left are %q", names)
	}
}

func kubeconfigFor(t *testing.T, server string) string {
	t.Helper()
	data, err := clientcmd.Write(api.Config{
		Clusters:  map[string]*api.Cluster{"c": {Server: server}},
		AuthInfos: map[string]*api.AuthInfo{"u": {Token: "t"}},
		Contexts:  map[string]*api.Context{"x": {Cluster: "c", AuthInfo: "u"}}, CurrentContext: "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "admin.conf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenFaults(t *testing.T) {
	dir := t.TempDir()
	broken, empty := filepath.Join(dir, "broken"), filepath.Join(dir, "empty")
	for path, text := range map[string]string{broken: "{", empty: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "none"), broken, empty} {
		_, err := Open(path)
		wantFaults(t, err, "kubeconfig-unreadable")
		if !strings.Contains(err.Error(), path) {
			t.Errorf("does not name %q: %v", path, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "none"), kubeconfigFor(t, "https://192.0.2.1:6443")); err != nil {
		t.Errorf("one of two is there: %v", err)
	}
}

// TestAPIFaults asks servers that are not there, or refuse.
func TestAPIFaults(t *testing.T) {
	for id, code := range map[string]int{"api-unreachable": 0, "api-refused": http.StatusUnauthorized} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		defer s.Close()
		if code == 0 {
			s.Close()
		}
		c, err := Open(kubeconfigFor(t, s.URL))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Tokens(t.Context(), c)
		wantFaults(t, err, id)
		_, err = DeleteTokens(t.Context(), c, []string{"aaaaaa", "bbbbbb"})
		wantFaults(t, err, id, id)
		_, err = CreateToken(t.Context(), c, TokenOptions{})
		wantFaults(t, err, id)
		_, err = CreateToken(t.Context(), c, TokenOptions{JoinCommand: true})
		wantFaults(t, err, id)
	}
}

func TestFailedTokenIsNotGiven(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer s.Close()
	c, err := Open(kubeconfigFor(t, s.URL))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := CreateToken(t.Context(), c, TokenOptions{}); got != nil || err == nil {
		t.Errorf("got %v, %v", got, err)
	}
}
