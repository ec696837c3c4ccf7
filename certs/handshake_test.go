package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"slipway.dev/slipway/certs"
)

// side is one end of a connection: its certificate and the authority it trusts.
type side struct{ cert, ca string }

const kubelet = certs.KubeletPKI + "/kubelet"

func TestHandshakes(t *testing.T) {
	const (
		cluster = "pki/ca"
		etcd    = "pki/etcd/ca"
	)
	made := map[certs.Algorithm]tree{}
	for _, alg := range []certs.Algorithm{certs.ECDSA, certs.RSA} {
		made[alg] = treeOf(nodeFiles(t, alg, controlPlane()))
	}
	for _, tt := range []struct {
		name           string
		server, client side
		host           string
	}{
		{"by the service name", side{"pki/apiserver", cluster}, side{"kubelet", cluster}, "kubernetes.default.svc.cluster.local"},
		{"by the service address", side{"pki/apiserver", cluster}, side{"kubelet", cluster}, "10.96.0.1"},
		{"by the node's address", side{"pki/apiserver", cluster}, side{"kubelet", cluster}, "198.51.100.2"},
		{"by the node's second address", side{"pki/apiserver", cluster}, side{"kubelet", cluster}, "2001:db8::2"},
		{"by the endpoint", side{"pki/apiserver", cluster}, side{"kubelet", cluster}, "api.dev.example"},
		{"by an extra name", side{"pki/apiserver", cluster}, side{"kubelet", cluster}, "dev.example"},
		{"by loopback", side{"pki/apiserver", cluster}, side{"kubelet", cluster}, "127.0.0.1"},
		{"API server to kubelet", side{kubelet, cluster}, side{"pki/apiserver-kubelet-client", cluster}, "198.51.100.2"},
		{"API server to kubelet by name", side{kubelet, cluster}, side{"pki/apiserver-kubelet-client", cluster}, "dev-cp-1"},
		{"API server to etcd", side{"pki/etcd/server", etcd}, side{"pki/apiserver-etcd-client", etcd}, "127.0.0.1"},
		{"probe to etcd", side{"pki/etcd/server", etcd}, side{"pki/etcd/healthcheck-client", etcd}, "localhost"},
		{"etcd to itself", side{"pki/etcd/server", etcd}, side{"pki/etcd/server", etcd}, "198.51.100.2"},
		{"etcd to its peer", side{"pki/etcd/peer", etcd}, side{"pki/etcd/peer", etcd}, "198.51.100.2"},
		{"API server to an extension", side{"pki/apiserver", "pki/front-proxy-ca"}, side{"pki/front-proxy-client", cluster}, "kubernetes"},
	} {
		for alg, files := range made {
			t.Run(tt.name+" "+string(alg), func(t *testing.T) {
				if err := files.handshake(t, tt.server, tt.client, tt.host); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestHandshakesRefused(t *testing.T) {
	files := treeOf(nodeFiles(t, certs.ECDSA, controlPlane()))
	other := treeOf(nodeFiles(t, certs.ECDSA, controlPlane()))
	files["other/ca.crt"] = other["pki/ca.crt"]
	files["other/client.crt"] = other["pki/apiserver-kubelet-client.crt"]
	files["other/client.key"] = other["pki/apiserver-kubelet-client.key"]
	api := side{"pki/apiserver", "pki/ca"}
	for _, tt := range []struct {
		name           string
		server, client side
		host           string
	}{
		{"another name", api, side{"kubelet", "pki/ca"}, "elsewhere.example"},
		{"another node's address", api, side{"kubelet", "pki/ca"}, "198.51.100.3"},
		{"another node's address at the kubelet", side{kubelet, "pki/ca"}, side{"pki/apiserver-kubelet-client", "pki/ca"}, "198.51.100.3"},
		{"loopback at the kubelet", side{kubelet, "pki/ca"}, side{"pki/apiserver-kubelet-client", "pki/ca"}, "127.0.0.1"},
		{"client trusts another cluster", api, side{"kubelet", "other/ca"}, "kubernetes"},
		{"client of another cluster", api, side{"other/client", "pki/ca"}, "kubernetes"},
		{"etcd's client at the API server", api, side{"pki/apiserver-etcd-client", "pki/ca"}, "kubernetes"},
		{"front proxy's client at the API server", api, side{"pki/front-proxy-client", "pki/ca"}, "kubernetes"},
		{"a server's certificate as client", api, side{"pki/apiserver", "pki/ca"}, "kubernetes"},
		{"a client's certificate as server", side{"pki/apiserver-kubelet-client", "pki/ca"}, side{"kubelet", "pki/ca"}, "kubernetes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := files.handshake(t, tt.server, tt.client, tt.host); err == nil {
				t.Error("was accepted")
			}
		})
	}
}

// handshake runs a mutual TLS handshake on loopback, both sides strict, and gives the first error.
func (f tree) handshake(t *testing.T, server, client side, host string) error {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", f.config(t, server, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() { served <- serve(listener) }()
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", listener.Addr().String(), f.config(t, client, host))
	if err != nil {
		return err
	}
	defer conn.Close()
	return <-served
}

func serve(l net.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.(*tls.Conn).Handshake()
}

func (f tree) config(t *testing.T, s side, host string) *tls.Config {
	t.Helper()
	certPEM, keyPEM := f[s.cert+".crt"], f[s.cert+".key"]
	if s.cert == "kubelet" {
		certPEM = f["/var/lib/kubelet/pki/kubelet-client-current.pem"]
		keyPEM = certPEM
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatalf("%s: %v", s.cert, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bytes.Clone(f[s.ca+".crt"])) {
		t.Fatalf("%s.crt is no certificate", s.ca)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: host,
		ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, Time: now, MinVersion: tls.VersionTLS12,
	}
}
