package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"

	"slipway.dev/slipway/certs"
)

func TestRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		alg   certs.Algorithm
		hosts []string
		dns   []string
		ips   int
	}{
		"client":        {certs.ECDSA, nil, nil, 0},
		"by default":    {"", nil, nil, 0},
		"server":        {certs.ECDSA, []string{"dev-worker-1", "198.51.100.3", "2001:db8::3"}, []string{"dev-worker-1"}, 2},
		"client in RSA": {certs.RSA, nil, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			csrPEM, key, err := certs.NewRequest(tt.alg, "system:node:dev-worker-1", "system:nodes", tt.hosts)
			if err != nil {
				t.Fatal(err)
			}
			block, rest := pem.Decode(csrPEM)
			if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) != 0 { // what the API server accepts
				t.Fatalf("got %s", csrPEM)
			}
			r, err := x509.ParseCertificateRequest(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.CheckSignature(); err != nil {
				t.Error(err)
			}
			if got := r.Subject.String(); got != "CN=system:node:dev-worker-1,O=system:nodes" {
				t.Errorf("subject %q", got)
			}
			if !slices.Equal(r.DNSNames, tt.dns) || len(r.IPAddresses) != tt.ips || len(r.EmailAddresses)+len(r.URIs) != 0 {
				t.Errorf("hosts %q, %v", r.DNSNames, r.IPAddresses)
			}
			_, isRSA := r.PublicKey.(*rsa.PublicKey)
			_, isEC := r.PublicKey.(*ecdsa.PublicKey)
			if isRSA != (tt.alg == certs.RSA) || isEC == isRSA {
				t.Errorf("a key of the kind %T", r.PublicKey)
			}
			signed := answer(t, r)
			if _, err := tls.X509KeyPair(signed, key); err != nil {
				t.Error(err)
			}
		})
	}
	if _, _, err := certs.NewRequest("md5", "x", "", nil); err == nil {
		t.Error("made a key of an unknown kind")
	}
}

// answer signs a request as a cluster does.
func answer(t *testing.T, r *x509.CertificateRequest) []byte {
	t.Helper()
	ca := make509(t, authorityTemplate("kubernetes"), rsaKey("kubernetes", 2048), nil)
	c := leaf{client: true}.template()
	c.Subject, c.SerialNumber, c.NotBefore, c.NotAfter = r.Subject, ca.cert.SerialNumber, now(), now().Add(year)
	der, err := x509.CreateCertificate(nil, &c, ca.cert, r.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestKubeletKubeconfigNeedsNoKey(t *testing.T) {
	a := authorities(t, certs.ECDSA)
	files, err := a.NodeFiles(cluster(), worker(), now())
	if err != nil {
		t.Fatal(err)
	}
	made := treeOf(files)
	got, err := certs.KubeletKubeconfig("dev", "https://api.dev.example:6443", made["pki/ca.crt"], "dev-worker-1")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, made["kubelet.conf"]) {
		t.Errorf("got\n%s\nand with the key\n%s", got, made["kubelet.conf"])
	}
	if !bytes.Contains(got, []byte("client-key: "+kubeletLink)) || bytes.Contains(got, []byte("-data: \n")) {
		t.Errorf("got\n%s", got)
	}
}

func TestRotatedFiles(t *testing.T) {
	made := treeOf(nodeFiles(t, certs.ECDSA, worker()))
	block, rest := pem.Decode(made[kubeletLink])
	cert, key := pem.EncodeToMemory(block), bytes.TrimSpace(rest)
	for name, certPEM := range map[string][]byte{"as it was": cert, "without its last newline": bytes.TrimSpace(cert)} {
		t.Run(name, func(t *testing.T) {
			files := certs.RotatedFiles(certPEM, key, now())
			if len(files) != 2 || files[0].Path != kubeletDated || files[0].Link != "" || files[1].Path != kubeletLink || files[1].Link != kubeletDated {
				t.Fatalf("got %v", files)
			}
			for _, f := range files {
				if _, err := tls.X509KeyPair(f.Data, f.Data); err != nil {
					t.Errorf("%s: %v", f.Path, err)
				}
				if f.Mode != 0o600 {
					t.Errorf("%s has mode %o", f.Path, f.Mode)
				}
			}
		})
	}
}
