package certs_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

const (
	year         = 365 * 24 * time.Hour
	kubeletCert  = "/var/lib/kubelet/pki/kubelet.crt"
	kubeletLink  = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	kubeletDated = "/var/lib/kubelet/pki/kubelet-client-2026-05-01-12-00-00.pem"
)

// signing is a certificate with the key behind it.
type signing struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// rsaKey makes one key for each name: what is under test are certificates, not the fixtures' keys.
var rsaKey = func() func(name string, bits int) *rsa.PrivateKey {
	var mu sync.Mutex
	made := map[string]*rsa.PrivateKey{}
	return func(name string, bits int) *rsa.PrivateKey {
		mu.Lock()
		defer mu.Unlock()
		if made[name] == nil {
			made[name], _ = rsa.GenerateKey(rand.Reader, bits)
		}
		return made[name]
	}
}()

// make509 signs a template; without a parent it signs itself.
func make509(t *testing.T, template x509.Certificate, key crypto.Signer, parent *signing) signing {
	t.Helper()
	if parent == nil {
		parent = &signing{&template, key}
	}
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	if template.NotBefore.IsZero() {
		template.NotBefore = now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = now().Add(100 * 24 * time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signing{cert, key}
}

// authorityTemplate is what kubeadm's NewSelfSignedCACert makes.
func authorityTemplate(commonName string) x509.Certificate {
	return x509.Certificate{
		Subject: pkix.Name{CommonName: commonName}, DNSNames: []string{commonName}, NotAfter: now().Add(10 * year),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true, IsCA: true,
	}
}

func (s signing) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})
}

func keyPEM(key crypto.Signer) []byte {
	if k, ok := key.(*rsa.PrivateKey); ok {
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})
	}
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		der, _ := x509.MarshalECPrivateKey(k)
		return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	}
	return pkcs8(key)
}

func pkcs8(key crypto.Signer) []byte {
	der, _ := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func publicPEM(key crypto.Signer) []byte {
	der, _ := x509.MarshalPKIXPublicKey(key.Public())
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (f tree) putPair(base string, s signing) {
	f[base+".crt"], f[base+".key"] = s.certPEM(), keyPEM(s.key)
}

// kubeadmHost has what kubeadm leaves on its first control plane, with some things that an
// administrator added, and the authorities by the paths of their certificates.
func kubeadmHost(t *testing.T) (tree, map[string]*signing) {
	t.Helper()
	f, cas := tree{}, map[string]*signing{}
	for path, cn := range map[string]string{"pki/ca": "kubernetes", "pki/etcd/ca": "etcd-ca", "pki/front-proxy-ca": "front-proxy-ca"} {
		ca := make509(t, authorityTemplate(cn), rsaKey(cn, 2048), nil)
		cas[path] = &ca
		f.putPair(path, ca)
	}
	sa := rsaKey("sa", 2048)
	f["pki/sa.key"], f["pki/sa.pub"] = keyPEM(sa), publicPEM(sa)
	for _, l := range kubeadmLeaves() {
		f.putPair(l.path, make509(t, l.template(), rsaKey("leaf", 2048), cas[l.ca]))
	}
	self := leaf{path: certs.KubeletPKI + "/kubelet", cn: "dev-cp-1@1777636800", hosts: []string{"dev-cp-1"}, server: true}
	f.putPair(self.path, make509(t, self.template(), rsaKey("leaf", 2048), nil))
	client := leaf{cn: "system:node:dev-cp-1", org: "system:nodes", client: true}
	c := make509(t, client.template(), rsaKey("leaf", 2048), cas["pki/ca"])
	f[kubeletLink] = slicesOf(c.certPEM(), keyPEM(c.key))
	for path, l := range map[string]leaf{
		"admin.conf":              {cn: "kubernetes-admin", org: "kubeadm:cluster-admins", client: true},
		"super-admin.conf":        {cn: "kubernetes-super-admin", org: "system:masters", client: true},
		"controller-manager.conf": {cn: "system:kube-controller-manager", client: true},
		"scheduler.conf":          {cn: "system:kube-scheduler", client: true},
	} {
		c := make509(t, l.template(), rsaKey("leaf", 2048), cas["pki/ca"])
		f[path] = embed(t, l.cn, f["pki/ca.crt"], &api.AuthInfo{ClientCertificateData: c.certPEM(), ClientKeyData: keyPEM(c.key)})
	}
	f["kubelet.conf"] = embed(t, "system:node:dev-cp-1", f["pki/ca.crt"],
		&api.AuthInfo{ClientCertificate: kubeletLink, ClientKey: kubeletLink})
	return f, cas
}

type leaf struct {
	path, ca, cn, org string
	hosts             []string
	server, client    bool
}

func kubeadmLeaves() []leaf {
	api := []string{"dev-cp-1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "10.96.0.1", "198.51.100.2"}
	etcd := []string{"dev-cp-1", "localhost", "198.51.100.2", "127.0.0.1", "::1"}
	return []leaf{
		{"pki/apiserver", "pki/ca", "kube-apiserver", "", append(api, "admins-own.example", "203.0.113.77"), true, false},
		{"pki/apiserver-kubelet-client", "pki/ca", "kube-apiserver-kubelet-client", "system:masters", nil, false, true}, // before 1.29
		{"pki/etcd/server", "pki/etcd/ca", "dev-cp-1", "", etcd, true, true},
		{"pki/etcd/peer", "pki/etcd/ca", "dev-cp-1", "", etcd, true, true},
		{"pki/etcd/healthcheck-client", "pki/etcd/ca", "kube-etcd-healthcheck-client", "", nil, false, true},
		{"pki/apiserver-etcd-client", "pki/etcd/ca", "kube-apiserver-etcd-client", "", nil, false, true},
		{"pki/front-proxy-client", "pki/front-proxy-ca", "front-proxy-client", "", nil, false, true},
	}
}

func (l leaf) template() x509.Certificate {
	c := x509.Certificate{Subject: pkix.Name{CommonName: l.cn}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment}
	if l.org != "" {
		c.Subject.Organization = []string{l.org}
	}
	for _, h := range l.hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	if l.server {
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if l.client {
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	return c
}

func embed(t *testing.T, user string, ca []byte, auth *api.AuthInfo) []byte {
	t.Helper()
	data, err := clientcmd.Write(api.Config{
		Clusters:  map[string]*api.Cluster{"kubernetes": {Server: "https://lb.example:8443", CertificateAuthorityData: ca}},
		AuthInfos: map[string]*api.AuthInfo{user: auth, "another": {Token: "kept"}},
		Contexts: map[string]*api.Context{user + "@kubernetes": {Cluster: "kubernetes", AuthInfo: user, Namespace: "ns"},
			"another": {Cluster: "kubernetes", AuthInfo: "another"}},
		CurrentContext: user + "@kubernetes",
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (f tree) read(path string) ([]byte, error) {
	if data, ok := f[path]; ok {
		return data, nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func (f tree) load(t *testing.T) *certs.Authorities {
	t.Helper()
	a, err := certs.LoadAuthorities(f.read, now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// write puts the files below a new root, the kubelet's client certificate behind its absolute link.
func (f tree) write(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	files := maps.Clone(f)
	if data, ok := files[kubeletLink]; ok {
		files[kubeletDated] = data
		delete(files, kubeletLink)
	}
	for path, data := range files {
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(path, ".crt") {
			mode = 0o644
		}
		full := filepath.Join(root, hostPath(path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, data, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := f[kubeletLink]; ok {
		if err := os.Symlink(kubeletDated, filepath.Join(root, kubeletLink)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func hostPath(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join("/etc/kubernetes", path)
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// verify says whether the certificate is good for the usage in the eyes of who trusts the authority.
func verify(cert *x509.Certificate, caPEM []byte, usage x509.ExtKeyUsage) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	_, err := cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now(), KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func faultIDs(err error) []string {
	var out []string
	for _, f := range fault.All(err) {
		out = append(out, f.ID)
	}
	return out
}

// checkFaults wants one fault for each text, in order, with an advice.
func checkFaults(t *testing.T, err error, id string, texts ...string) {
	t.Helper()
	got := fault.All(err)
	if len(got) != len(texts) {
		t.Fatalf("%d faults, want %d: %v", len(got), len(texts), err)
	}
	for i, f := range got {
		if f.ID != id || !strings.Contains(f.Error(), texts[i]) || f.Next == "" {
			t.Errorf("got %s (%s), next %q; want %q (%s)", f, f.ID, f.Next, texts[i], id)
		}
	}
}
