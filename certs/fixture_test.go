package certs_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"testing"
	"time"

	"slipway.dev/slipway/certs"
)

func now() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

func cluster() certs.Cluster {
	return certs.Cluster{
		Name: "dev", DNSDomain: "cluster.local", ServiceIP: netip.MustParseAddr("10.96.0.1"),
		Endpoint: "https://api.dev.example:6443", ExtraSANs: []string{"dev.example", "192.0.2.7"},
	}
}

func controlPlane() certs.Node {
	return certs.Node{Name: "dev-cp-1", ControlPlane: true, Addresses: []netip.Addr{
		netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8::2"),
	}}
}

func worker() certs.Node {
	return certs.Node{Name: "dev-worker-1", Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.3")}}
}

func authorities(t *testing.T, alg certs.Algorithm) *certs.Authorities {
	t.Helper()
	a, err := certs.NewAuthorities(alg, now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func nodeFiles(t *testing.T, alg certs.Algorithm, n certs.Node) []certs.File {
	t.Helper()
	files, err := authorities(t, alg).NodeFiles(cluster(), n, now())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// tree gives the files by path.
type tree map[string][]byte

func treeOf(files []certs.File) tree {
	t := tree{}
	for _, f := range files {
		t[f.Path] = f.Data
	}
	return t
}

func (f tree) leaf(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(f[path])
	if block == nil {
		t.Fatalf("%s has no PEM block", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return cert
}
