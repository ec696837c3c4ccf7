package approver

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// requestedHosts gives the names and addresses that a request wants a certificate for, in canonical form, if all else in the
// request is as a kubelet writes it.
func requestedHosts(spec *certificatesv1.CertificateSigningRequestSpec) ([]string, error) {
	if err := checkUsages(spec.Usages); err != nil {
		return nil, err
	}
	request, err := parse(spec.Request)
	if err != nil {
		return nil, err
	}
	if err := checkSubject(request, spec.Username); err != nil {
		return nil, err
	}
	if len(request.EmailAddresses) > 0 || len(request.URIs) > 0 {
		return nil, errors.New("a node has no e-mail addresses or URIs")
	}
	var hosts []string
	for _, name := range request.DNSNames {
		if err := checkName(name); err != nil {
			return nil, err
		}
		hosts = append(hosts, canonical(name))
	}
	for _, ip := range request.IPAddresses {
		if err := checkAddress(ip); err != nil {
			return nil, err
		}
		hosts = append(hosts, canonical(ip.String()))
	}
	if len(hosts) == 0 {
		return nil, errors.New("no name or address is asked for")
	}
	return hosts, nil
}

func checkUsages(usages []certificatesv1.KeyUsage) error {
	for _, must := range []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth} {
		if !slices.Contains(usages, must) {
			return fmt.Errorf("usage %q is missing", must)
		}
	}
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth:
		case certificatesv1.UsageKeyEncipherment: // of RSA keys only
		default:
			return fmt.Errorf("usage %.64q is not for a kubelet's server", u)
		}
	}
	return nil
}

func parse(text []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it is not one certificate request in PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the request's signature: %w", err)
	}
	return request, nil
}

// checkSubject counts all attributes too: of two common names, Go's parser shows only the last.
func checkSubject(request *x509.CertificateRequest, user string) error {
	s := request.Subject
	if s.CommonName != user {
		return fmt.Errorf("the common name is %.64q, not that of user %.64q", s.CommonName, user)
	}
	if !slices.Equal(s.Organization, []string{nodesGroup}) {
		return fmt.Errorf("the organizations are %.64q, not %q alone", s.Organization, nodesGroup)
	}
	if len(s.Names) != 2 {
		return errors.New("the subject has more than a common name and an organization")
	}
	return nil
}

// checkName takes names that one host can have. The API's names inside the cluster are refused even to a Node that reports
// them: pods take whoever has a certificate for one of them for the API server.
func checkName(name string) error {
	n := canonical(name)
	if len(validation.IsDNS1123Subdomain(n)) > 0 || net.ParseIP(n) != nil {
		return fmt.Errorf("%.64q is not the name of a host", name)
	}
	// The cluster's own domain follows the last of them, so does whatever a resolver appends.
	if n == "localhost" || n == "kubernetes" || n == "kubernetes.default" || strings.HasPrefix(n+".", "kubernetes.default.svc.") {
		return fmt.Errorf("%s cannot be the name of a node", n)
	}
	return nil
}

// checkAddress takes those by which one host can be reached from others, as kubelet does for its own:
// no loopback, unspecified, multicast, broadcast or link-local addresses.
func checkAddress(ip net.IP) error {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || !a.Unmap().IsGlobalUnicast() {
		return fmt.Errorf("%s cannot be the address of a node", ip)
	}
	return nil
}
