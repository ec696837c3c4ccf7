package certs

import (
	"github.com/cloudflare/cfssl/csr"
)

// NewRequest makes a key and a certificate signing request, for a node that has no authority's key.
// An empty algorithm is ECDSA. A kubelet's client certificate has no hosts.
func NewRequest(alg Algorithm, commonName, organization string, hosts []string) (csrPEM, keyPEM []byte, err error) {
	return newRequest(alg, subject(commonName, organization, hosts))
}

func newRequest(alg Algorithm, r *csr.CertificateRequest) (csrPEM, keyPEM []byte, err error) {
	silence()
	if r.KeyRequest, err = alg.request(); err != nil {
		return nil, nil, err
	}
	return csr.ParseRequest(r)
}

func (e Entry) request(c Cluster, n Node) *csr.CertificateRequest {
	var hosts []string
	if e.Hosts != nil {
		hosts = e.Hosts(c, n)
	}
	return subject(e.CommonName(n), e.Organization, hosts)
}

func subject(commonName, organization string, hosts []string) *csr.CertificateRequest {
	r := &csr.CertificateRequest{CN: commonName, Hosts: hosts}
	if organization != "" {
		r.Names = []csr.Name{{O: organization}}
	}
	return r
}
