package certs_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"slipway.dev/slipway/certs"
)

func allOf(t *testing.T, host tree) tree {
	t.Helper()
	files, err := host.load(t).NodeFiles(cluster(), controlPlane(), now())
	if err != nil {
		t.Fatal(err)
	}
	return treeOf(files)
}

func TestLoadKubeadmsAuthorities(t *testing.T) {
	host, _ := kubeadmHost(t)
	a := host.load(t)
	if got := a.Missing(); len(got) != 0 {
		t.Errorf("missing %q", got)
	}
	own := treeOf(a.Files())
	if len(own) != 8 {
		t.Errorf("%d files", len(own))
	}
	for path, data := range own {
		if !bytes.Equal(data, host[path]) {
			t.Errorf("%s is written differently", path)
		}
	}
	made := allOf(t, host)
	for _, tt := range []struct {
		server, client side
		host           string
	}{
		{side{"pki/apiserver", "pki/ca"}, side{"kubelet", "pki/ca"}, "kubernetes"},
		{side{kubelet, "pki/ca"}, side{"pki/apiserver-kubelet-client", "pki/ca"}, "dev-cp-1"},
		{side{"pki/etcd/peer", "pki/etcd/ca"}, side{"pki/etcd/peer", "pki/etcd/ca"}, "198.51.100.2"},
		{side{"pki/apiserver", "pki/front-proxy-ca"}, side{"pki/front-proxy-client", "pki/ca"}, "kubernetes"},
		{side{"pki/etcd/server", "pki/etcd/ca"}, side{"pki/apiserver-etcd-client", "pki/etcd/ca"}, "127.0.0.1"},
	} {
		if err := made.handshake(t, tt.server, tt.client, tt.host); err != nil {
			t.Errorf("%s: %v", tt.server.cert, err)
		}
	}
}

// TestLoadedKinds holds that keys are of the cluster authority's kind, whatever the others are.
func TestLoadedKinds(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for name, tt := range map[string]struct {
		key    crypto.Signer
		encode func(crypto.Signer) []byte
		rsa    bool
	}{
		"RSA 3072":          {rsaKey("large", 3072), keyPEM, true},
		"RSA in PKCS 8":     {rsaKey("leaf", 2048), pkcs8, true},
		"P-256":             {p256, keyPEM, false},
		"P-256 in PKCS 8":   {p256, pkcs8, false},
		"P-384":             {p384, keyPEM, false},
		"P-256 by openssl":  {p256, opensslEC, false},
		"RSA beside a text": {rsaKey("leaf", 2048), func(k crypto.Signer) []byte { return slicesOf([]byte("made by hand\n"), keyPEM(k)) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			host, _ := kubeadmHost(t)
			ca := make509(t, authorityTemplate("kubernetes"), tt.key, nil)
			host["pki/ca.crt"], host["pki/ca.key"] = ca.certPEM(), tt.encode(tt.key)
			a := host.load(t)
			if !bytes.Equal(treeOf(a.Files())["pki/ca.key"], host["pki/ca.key"]) {
				t.Error("the key is written differently")
			}
			files, err := a.NodeFiles(cluster(), worker(), now())
			if err != nil {
				t.Fatal(err)
			}
			peer, err := a.Renew(cluster(), controlPlane(), []string{"etcd-peer"}, host.read, now())
			if err != nil {
				t.Fatal(err)
			}
			made := treeOf(slices.Concat(a.Files(), files, peer))
			for _, path := range []string{kubeletCert, "pki/etcd/peer.crt"} {
				leaf := made.leaf(t, path)
				key, isRSA := leaf.PublicKey.(*rsa.PublicKey)
				if isRSA != tt.rsa || isRSA && key.N.BitLen() != 2048 {
					t.Errorf("%s has a key of the kind %T", path, leaf.PublicKey)
				}
				if isRSA != (leaf.KeyUsage&x509.KeyUsageKeyEncipherment != 0) {
					t.Errorf("%s has usage %b", path, leaf.KeyUsage)
				}
			}
			if err := made.handshake(t, side{kubelet, "pki/ca"}, side{"kubelet", "pki/ca"}, "dev-worker-1"); err != nil {
				t.Error(err)
			}
			if err := made.handshake(t, side{"pki/etcd/peer", "pki/etcd/ca"}, side{"pki/etcd/peer", "pki/etcd/ca"}, "localhost"); err != nil {
				t.Error(err)
			}
		})
	}
}

// opensslEC is as `openssl ecparam -genkey` writes: the curve first, for P-256 here.
func opensslEC(k crypto.Signer) []byte {
	return slicesOf([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), keyPEM(k))
}

func TestLoadChain(t *testing.T) {
	host, _ := kubeadmHost(t)
	root := make509(t, authorityTemplate("company root"), rsaKey("root", 2048), nil)
	signs := make509(t, authorityTemplate("kubernetes"), rsaKey("other", 2048), &root)
	bundle := slicesOf(signs.certPEM(), root.certPEM())
	host["pki/ca.crt"], host["pki/ca.key"] = bundle, keyPEM(signs.key)
	made := allOf(t, host)
	if !bytes.Equal(made["pki/ca.crt"], bundle) {
		t.Error("ca.crt lost its chain")
	}
	config, err := clientcmd.Load(made["admin.conf"])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Clusters {
		if !bytes.Equal(c.CertificateAuthorityData, bundle) {
			t.Error("admin.conf lost the chain")
		}
	}
	if err := made.leaf(t, "pki/apiserver.crt").CheckSignatureFrom(signs.cert); err != nil {
		t.Error("the first certificate is not the one that signs:", err)
	}
	if err := made.handshake(t, side{"pki/apiserver", "pki/ca"}, side{"kubelet", "pki/ca"}, "kubernetes"); err != nil {
		t.Error(err)
	}
}

func TestCompleteMakesWhatIsMissing(t *testing.T) {
	full, _ := kubeadmHost(t)
	for name, tt := range map[string]struct {
		gone, missing []string
		rsa           bool
	}{
		"nothing":       {nil, nil, true},
		"front proxy":   {[]string{"pki/front-proxy-ca"}, []string{certs.FrontProxyCA}, true},
		"tokens' key":   {[]string{"pki/sa"}, []string{certs.ServiceAccount}, true},
		"all but etcd":  {[]string{"pki/ca", "pki/front-proxy-ca", "pki/sa"}, []string{certs.ClusterCA, certs.FrontProxyCA, certs.ServiceAccount}, false},
		"all":           {[]string{"pki/ca", "pki/etcd/ca", "pki/front-proxy-ca", "pki/sa"}, []string{certs.ClusterCA, certs.EtcdCA, certs.FrontProxyCA, certs.ServiceAccount}, false},
		"all but first": {[]string{"pki/etcd/ca", "pki/front-proxy-ca", "pki/sa"}, []string{certs.EtcdCA, certs.FrontProxyCA, certs.ServiceAccount}, true},
	} {
		t.Run(name, func(t *testing.T) {
			host := maps.Clone(full)
			for _, base := range tt.gone {
				delete(host, base+".crt")
				delete(host, base+".key")
				delete(host, base+".pub")
			}
			a := host.load(t)
			if got := a.Missing(); !slices.Equal(got, tt.missing) {
				t.Errorf("missing %q, want %q", got, tt.missing)
			}
			before := treeOf(a.Files())
			for path, data := range before {
				if !bytes.Equal(data, host[path]) || len(data) == 0 {
					t.Errorf("%s is not what lies there", path)
				}
			}
			if err := a.Complete(certs.ECDSA, now()); err != nil {
				t.Fatal(err)
			}
			after := treeOf(a.Files())
			if len(after) != 8 || len(a.Missing()) != 0 {
				t.Errorf("%d files, missing %q", len(after), a.Missing())
			}
			for path := range before {
				if !bytes.Equal(before[path], after[path]) {
					t.Errorf("%s was replaced", path)
				}
			}
			for _, base := range tt.gone {
				if is := bytes.Contains(after[base+".key"], []byte("RSA PRIVATE KEY")); is != tt.rsa {
					t.Errorf("%s.key is RSA: %v, want %v", base, is, tt.rsa)
				}
			}
			if again := after.load(t); len(again.Missing()) != 0 { // its pairs belong together
				t.Errorf("missing again: %q", again.Missing())
			}
		})
	}
}

func TestAuthorityThatIsMissingSignsNothing(t *testing.T) {
	host, _ := kubeadmHost(t)
	delete(host, "pki/etcd/ca.crt")
	delete(host, "pki/etcd/ca.key")
	_, err := host.load(t).NodeFiles(cluster(), controlPlane(), now())
	if got := faultIDs(err); !slices.Equal(got, []string{"authority-missing"}) {
		t.Errorf("got %q: %v", got, err)
	}
}

func TestLoadFaults(t *testing.T) {
	full, cas := kubeadmHost(t)
	other := make509(t, authorityTemplate("kubernetes"), rsaKey("other", 2048), nil)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	with := func(change func(*x509.Certificate)) func(tree) {
		return func(f tree) {
			c := authorityTemplate("kubernetes")
			change(&c)
			f.putPair("pki/ca", make509(t, c, rsaKey("leaf", 2048), nil))
		}
	}
	for name, tt := range map[string]struct {
		change func(tree)
		want   []string // a part of each fault's text, in order
	}{
		"certificate is no PEM":  {func(f tree) { f["pki/ca.crt"] = []byte("hello") }, []string{`"pki/ca": parse certificate`}},
		"certificate is a key":   {func(f tree) { f["pki/ca.crt"] = f["pki/ca.key"] }, []string{`"pki/ca": parse certificate`}},
		"certificate is damaged": {func(f tree) { f["pki/ca.crt"] = []byte(pemOf("CERTIFICATE")) }, []string{`"pki/ca": parse certificate`}},
		"key is no PEM":          {func(f tree) { f["pki/etcd/ca.key"] = []byte("") }, []string{`"pki/etcd/ca": parse key`}},
		"key is encrypted":       {func(f tree) { f["pki/ca.key"] = []byte(pemOf("ENCRYPTED PRIVATE KEY")) }, []string{`"pki/ca": parse key`}},
		"external":               {func(f tree) { delete(f, "pki/ca.key") }, []string{"no pki/ca.key"}},
		"key alone":              {func(f tree) { delete(f, "pki/front-proxy-ca.crt") }, []string{"no pki/front-proxy-ca.crt"}},
		"another key":            {func(f tree) { f["pki/ca.key"] = keyPEM(other.key) }, []string{"does not belong"}},
		"another CA's key":       {func(f tree) { f["pki/ca.key"] = f["pki/etcd/ca.key"] }, []string{"does not belong"}},
		"chain the wrong way":    {func(f tree) { f["pki/ca.crt"] = slicesOf(other.certPEM(), f["pki/ca.crt"]) }, []string{"does not belong"}},
		"a leaf": {func(f tree) {
			f.putPair("pki/ca", make509(t, kubeadmLeaves()[0].template(), rsaKey("leaf", 2048), cas["pki/ca"]))
		}, []string{"may not sign others"}},
		"may not sign":          {with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), []string{"may not sign others"}},
		"expired":               {with(func(c *x509.Certificate) { c.NotAfter = now().Add(-1) }), []string{"expired on 2026-05-01"}},
		"not yet valid":         {with(func(c *x509.Certificate) { c.NotBefore = now().Add(year) }), []string{"not valid before 2027-05-01"}},
		"a kind nobody knows":   {func(f tree) { f.putPair("pki/ca", make509(t, authorityTemplate("x"), ed, nil)) }, []string{"ed25519"}},
		"public key alone":      {func(f tree) { delete(f, "pki/sa.key") }, []string{"no pki/sa.key"}},
		"private key alone":     {func(f tree) { delete(f, "pki/sa.pub") }, []string{"no pki/sa.pub"}},
		"another public key":    {func(f tree) { f["pki/sa.pub"] = publicPEM(other.key) }, []string{"not the public half"}},
		"public key is no PEM":  {func(f tree) { f["pki/sa.pub"] = []byte("hello") }, []string{"parse pki/sa.pub"}},
		"tokens' key is no PEM": {func(f tree) { f["pki/sa.key"] = []byte("hello") }, []string{"parse pki/sa.key"}},
		"two things with one":   {func(f tree) { f["pki/ca.crt"] = cas["pki/etcd/ca"].expired(t) }, []string{"does not belong", "expired"}},
		"one thing each with all": {func(f tree) {
			f["pki/ca.crt"] = nil
			delete(f, "pki/etcd/ca.key")
			f["pki/front-proxy-ca.key"] = f["pki/ca.key"]
			f["pki/sa.pub"] = nil
		}, []string{"parse certificate", "no pki/etcd/ca.key", "does not belong", "parse pki/sa.pub"}},
	} {
		t.Run(name, func(t *testing.T) {
			host := maps.Clone(full)
			tt.change(host)
			a, err := certs.LoadAuthorities(host.read, now())
			if a != nil {
				t.Error("gave authorities")
			}
			checkFaults(t, err, "authority-invalid", tt.want...)
		})
	}
}

func TestUnreadableIsNotMissing(t *testing.T) {
	host, _ := kubeadmHost(t)
	_, err := certs.LoadAuthorities(func(path string) ([]byte, error) {
		if path == "pki/sa.key" || strings.HasPrefix(path, "pki/etcd/ca") {
			return nil, errors.New("permission denied")
		}
		return host.read(path)
	}, now())
	checkFaults(t, err, "authority-invalid", "permission denied", "permission denied")
}

func TestPublicKeysOfReplacedOnesAreKept(t *testing.T) {
	host, _ := kubeadmHost(t)
	both := slicesOf(publicPEM(rsaKey("large", 3072)), host["pki/sa.pub"])
	host["pki/sa.pub"] = both
	if got := treeOf(host.load(t).Files())["pki/sa.pub"]; !bytes.Equal(got, both) {
		t.Errorf("got %s", got)
	}
}

func (s *signing) expired(t *testing.T) []byte {
	t.Helper()
	c := authorityTemplate("old")
	c.NotAfter = now().Add(-1)
	return make509(t, c, s.key, nil).certPEM()
}

func pemOf(kind string) string {
	return "-----BEGIN " + kind + "-----\naGVsbG8=\n-----END " + kind + "-----\n"
}
