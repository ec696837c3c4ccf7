package discovery_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/cluster-bootstrap/token/jws"

	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/internal/fault"
)

const (
	secret      = "s3cr3thalf0ftest"
	server      = "https://api.example.test:6443" // never asked: it is what cluster-info names
	clusterInfo = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
)

func token(t *testing.T) discovery.Token {
	t.Helper()
	tok, err := discovery.ParseToken("abcdef." + secret)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// patience ends what would otherwise be waited for as long as go test lasts.
func patience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// authority is a certificate authority with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := newKey(t)
	return authority{sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}, nil, key, key), key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// serving gives a certificate for the address, valid from and to as far from now.
func (a authority) serving(t *testing.T, address string, from, to time.Duration) tls.Certificate {
	t.Helper()
	key := newKey(t)
	cert := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, IPAddresses: []net.IP{net.ParseIP(address)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(from), NotAfter: time.Now().Add(to),
	}, a.cert, key, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a authority) valid(t *testing.T) tls.Certificate {
	t.Helper()
	return a.serving(t, "127.0.0.1", -time.Hour, time.Hour)
}

func (a authority) hash() []discovery.CAHash { return []discovery.CAHash{discovery.HashOf(a.cert)} }

func bundle(authorities ...authority) []byte {
	var out []byte
	for _, a := range authorities {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})...)
	}
	return out
}

// kubeconfig is as kubeadm and Slipway write it into cluster-info.
func kubeconfig(t *testing.T, server string, ca []byte) string {
	t.Helper()
	return writeConfig(t, api.Config{Clusters: map[string]*api.Cluster{"": {Server: server, CertificateAuthorityData: ca}}})
}

func writeConfig(t *testing.T, c api.Config) string {
	t.Helper()
	data, err := clientcmd.Write(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// signed gives cluster-info with the kubeconfig, signed with the text of a token.
func signed(t *testing.T, kubeconfig, tokenText string) http.HandlerFunc {
	t.Helper()
	id, half, _ := strings.Cut(tokenText, ".")
	signature, err := jws.ComputeDetachedSignature(kubeconfig, id, half)
	if err != nil {
		t.Fatal(err)
	}
	return configMap(map[string]string{"kubeconfig": kubeconfig, "jws-kubeconfig-" + id: signature})
}

func configMap(data map[string]string) http.HandlerFunc {
	return reply(http.StatusOK, corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"}, Data: data,
	})
}

// status is how the API server refuses.
func status(code int) http.HandlerFunc {
	return reply(code, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Message: "refused: " + http.StatusText(code), Code: int32(code),
	})
}

func reply(code int, object any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(object)
	}
}

func html(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<html>it works</html>")
	}
}

// inTurn answers each request with the next handler, and all further ones with the last.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		handlers[min(int(n.Add(1)), len(handlers))-1](w, r)
	}
}

// cluster is an API server on loopback that counts what it is asked.
type cluster struct {
	*httptest.Server
	requests atomic.Int32
}

func (c *cluster) endpoint() string { return c.Listener.Addr().String() }

// serve starts an API server with that certificate, or without TLS if there is none.
func serve(t *testing.T, cert *tls.Certificate, handler http.HandlerFunc) *cluster {
	t.Helper()
	c := newCluster(t, handler)
	if cert == nil {
		c.Start()
	} else {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
		c.StartTLS()
	}
	t.Cleanup(c.Close)
	return c
}

// newCluster is not started yet. It must be asked for cluster-info only, and by nobody who says who they are.
func newCluster(t *testing.T, handler http.HandlerFunc) *cluster {
	t.Helper()
	c := &cluster{}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		if r.Method != http.MethodGet || r.URL.Path != clusterInfo || r.Header.Get("Authorization") != "" {
			t.Errorf("asked %s %s, authorization %q", r.Method, r.URL, r.Header.Get("Authorization"))
		}
		handler(w, r)
	}))
	c.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	return c
}

// wantFault holds an error against the identifier, and what its text must have.
func wantFault(t *testing.T, err error, id string, texts ...string) {
	t.Helper()
	faults := fault.All(err)
	if len(faults) != 1 || faults[0].ID != id {
		t.Fatalf("error is %v (%+v), want the fault %q", err, faults, id)
	}
	f := faults[0]
	if f.Next == "" {
		t.Errorf("the fault %q has no advice", id)
	}
	for _, text := range texts {
		if !strings.Contains(f.Error(), text) {
			t.Errorf("the fault %q does not say %q: %v", id, text, f)
		}
	}
	if strings.Contains(f.Error()+f.Next, secret) {
		t.Errorf("the fault has the secret half of the token: %v", f)
	}
}
