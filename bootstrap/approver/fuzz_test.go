package approver_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	netutils "k8s.io/utils/net"

	"slipway.dev/slipway/bootstrap/approver"
)

// FuzzJudge is a node that asks and reports what it likes. Where raw is empty, the rest is what a signed request has.
func FuzzJudge(f *testing.F) {
	key := newKey(f)
	good := worker1().request(f, key).Spec.Request
	f.Add(good, "", "", "", []byte(nil), "192.0.2.11")
	f.Add(good[:len(good)/2], "", "", "", []byte(nil), "192.0.2.11")
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"), "", "", "", []byte(nil), "")
	ip := func(s string) []byte { return net.ParseIP(s).To16() }
	f.Add([]byte(nil), "system:node:worker-1", "system:nodes", "worker-1", []byte{192, 0, 2, 11}, "192.0.2.11")
	f.Add([]byte(nil), "system:node:worker-1", "system:nodes", "worker-1", ip("::ffff:192.0.2.1"), "::ffff:192.0.2.1")
	f.Add([]byte(nil), "system:node:worker-1", "system:nodes", "CP-1.example.", []byte{10, 96, 0, 1}, "10.96.0.1")
	f.Add([]byte(nil), "system:node:worker-1", "system:nodes", "192.000.002.001", ip("fe80::1"), "fe80::1%eth0")
	f.Add([]byte(nil), "system:node:worker-1", "system:nodes", "a.example", ip("2001:db8::2"), "A.Example.")
	f.Add([]byte(nil), "system:node:cp-1", "system:masters", "*.example", []byte{127, 0, 0, 1}, "*.example")
	f.Fuzz(func(t *testing.T, raw []byte, cn, o, dns string, address []byte, claim string) {
		if len(raw) == 0 {
			raw = signed(t, key, cn, o, dns, address)
		}
		mine := node("worker-1")
		for _, kind := range []corev1.NodeAddressType{"Hostname", "InternalDNS", "InternalIP", "ExternalIP"} {
			mine.Status.Addresses = append(mine.Status.Addresses, corev1.NodeAddress{Type: kind, Address: claim})
		}
		verdict, why := approver.Judge(csr("csr-1", "worker-1", raw), []*corev1.Node{controlPlaneNode(), mine}, apiService(), "api.example.com")
		if why == "" || len(why) > 1024 {
			t.Errorf("the reason for %s has %d bytes", verdict, len(why))
		}
		switch verdict {
		case approver.Approve:
			wantHarmless(t, raw, claim)
		case approver.Deny, approver.Wait:
		default:
			t.Errorf("the verdict is %s", verdict)
		}
	})
}

func signed(t *testing.T, key any, cn, o, dns string, address []byte) []byte {
	t.Helper()
	request := &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn, Organization: []string{o}}, DNSNames: []string{dns}}
	if len(address) == net.IPv4len || len(address) == net.IPv6len {
		request.IPAddresses = []net.IP{address}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	if err != nil {
		t.Skipf("no client could make this request: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// wantHarmless asks as a client would: whom would it take the node for, with such a certificate?
func wantHarmless(t *testing.T, raw []byte, claim string) {
	t.Helper()
	block, _ := pem.Decode(raw)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if request.Subject.CommonName != "system:node:worker-1" || strings.Join(request.Subject.Organization, ",") != "system:nodes" {
		t.Errorf("approved for %s", request.Subject)
	}
	certificate := &x509.Certificate{DNSNames: request.DNSNames, IPAddresses: request.IPAddresses}
	others := []string{"cp-1", "cp-1.example", "192.0.2.1", "2001:db8::1", "10.96.0.1", "2001:db8:96::1", "127.0.0.1", "::1", "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	for _, host := range others {
		if certificate.VerifyHostname(host) == nil {
			t.Errorf("approved for %s: %q %v", host, request.DNSNames, request.IPAddresses)
		}
	}
	for _, name := range request.DNSNames {
		if n := strings.TrimSuffix(name, "."); !strings.EqualFold(n, "worker-1") && !strings.EqualFold(n, strings.TrimSuffix(claim, ".")) {
			t.Errorf("approved for the name %q, where %q was reported", name, claim)
		}
	}
	for _, ip := range request.IPAddresses {
		if !ip.Equal(netutils.ParseIPSloppy(claim)) {
			t.Errorf("approved for the address %s, where %q was reported", ip, claim)
		}
	}
}
