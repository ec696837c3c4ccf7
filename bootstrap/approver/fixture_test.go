package approver_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// asking is what worker-1 asks for, as its kubelet does.
type asking struct {
	subject pkix.Name
	dns     []string
	ips     []string
	emails  []string
	uris    []*url.URL
	// pem is what becomes of the request after it is signed.
	pem func(block *pem.Block) []byte
}

func worker1() asking {
	return asking{
		subject: pkix.Name{CommonName: "system:node:worker-1", Organization: []string{"system:nodes"}},
		dns:     []string{"worker-1"},
		ips:     []string{"192.0.2.11"},
	}
}

// request signs what is asked for and puts it where the API server has it, with what that says of worker-1.
func (a asking) request(t testing.TB, key crypto.Signer) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	var ips []net.IP
	for _, text := range a.ips {
		ip := net.ParseIP(text)
		if ip == nil {
			t.Fatalf("%q is no address", text)
		}
		ips = append(ips, ip)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: a.subject, DNSNames: a.dns, IPAddresses: ips, EmailAddresses: a.emails, URIs: a.uris,
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.pem == nil {
		a.pem = pem.EncodeToMemory
	}
	return csr("csr-1", "worker-1", a.pem(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func csr(name, node string, request []byte) *certificatesv1.CertificateSigningRequest {
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: certificatesv1.KubeletServingSignerName,
			Username:   "system:node:" + node,
			Groups:     []string{"system:nodes", "system:authenticated"},
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
			Request:    request,
		},
	}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// node takes addresses in pairs of type and address.
func node(name string, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for i := 0; i < len(addresses); i += 2 {
		n.Status.Addresses = append(n.Status.Addresses,
			corev1.NodeAddress{Type: corev1.NodeAddressType(addresses[i]), Address: addresses[i+1]})
	}
	return n
}

func worker1Node() *corev1.Node {
	return node("worker-1", "Hostname", "worker-1", "InternalIP", "192.0.2.11", "InternalIP", "2001:db8::11", "ExternalIP", "198.51.100.11",
		"InternalDNS", "worker-1.internal.example", "ExternalDNS", "Worker-1.Example")
}

func controlPlaneNode() *corev1.Node {
	return node("cp-1", "Hostname", "cp-1", "InternalIP", "192.0.2.1", "InternalIP", "2001:db8::1", "ExternalDNS", "CP-1.Example.")
}

func apiService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "2001:db8:96::1"}},
	}
}

// forged changes the request after it was signed, to another of the same length.
func forged(from, to string) func(*pem.Block) []byte {
	return func(b *pem.Block) []byte {
		b.Bytes = bytes.ReplaceAll(b.Bytes, []byte(from), []byte(to))
		return pem.EncodeToMemory(b)
	}
}
