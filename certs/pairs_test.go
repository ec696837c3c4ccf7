package certs_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"slipway.dev/slipway/certs"
)

func TestKeysBelongToTheirCertificates(t *testing.T) {
	files := treeOf(nodeFiles(t, certs.ECDSA, controlPlane()))
	for path, cert := range files {
		key := strings.TrimSuffix(path, ".crt") + ".key"
		if key == path || !strings.HasSuffix(path, ".crt") {
			continue
		}
		if _, err := tls.X509KeyPair(cert, files[key]); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	private, _ := pem.Decode(files["pki/sa.key"])
	public, _ := pem.Decode(files["pki/sa.pub"])
	key, err := x509.ParseECPrivateKey(private.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.ParsePKIXPublicKey(public.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if other, ok := pub.(interface{ Equal(crypto.PublicKey) bool }); !ok || !other.Equal(key.Public()) {
		t.Error("sa.pub is not the public half of sa.key")
	}
}
