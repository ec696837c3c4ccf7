package certs

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/cloudflare/cfssl/csr"
	"github.com/cloudflare/cfssl/helpers"
	"github.com/cloudflare/cfssl/initca"
	"github.com/cloudflare/cfssl/signer"
	"github.com/cloudflare/cfssl/signer/local"
)

// Algorithm is the kind of all keys of a cluster.
type Algorithm string

// The algorithms that every Kubernetes component accepts.
const (
	ECDSA Algorithm = "ecdsa" // P-256, the default
	RSA   Algorithm = "rsa"   // 2048 bits
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	leafLifetime      = 365 * 24 * time.Hour
	clockSkew         = 5 * time.Minute // hosts whose clocks run late must accept the certificates too
)

// Authorities are the three certificate authorities of a cluster and the key pair that signs
// service account tokens.
type Authorities struct {
	algorithm               Algorithm
	cluster, etcd, frontend authority
	serviceAccount          serviceAccount
}

type authority struct {
	cert      *x509.Certificate
	key       crypto.Signer
	certPEM   []byte
	keyPEM    []byte
	algorithm Algorithm
}

// NewAuthorities makes new authorities, valid for ten years from now. An empty algorithm is ECDSA.
func NewAuthorities(alg Algorithm, now time.Time) (*Authorities, error) {
	if alg == "" {
		alg = ECDSA
	}
	if _, err := alg.request(); err != nil {
		return nil, err
	}
	silence()
	a := &Authorities{algorithm: alg}
	for name, dst := range a.byName() {
		ca, err := newAuthority(commonNames()[name], alg, now)
		if err != nil {
			return nil, fmt.Errorf("make certificate authority %q: %w", name, err)
		}
		*dst = ca
	}
	var err error
	a.serviceAccount, err = newServiceAccount(alg)
	return a, err
}

func (a *Authorities) byName() map[string]*authority {
	return map[string]*authority{ClusterCA: &a.cluster, EtcdCA: &a.etcd, FrontProxyCA: &a.frontend}
}

func newAuthority(commonName string, alg Algorithm, now time.Time) (authority, error) {
	kr, err := alg.request()
	if err != nil {
		return authority{}, err
	}
	request, keyPEM, err := csr.ParseRequest(&csr.CertificateRequest{CN: commonName, KeyRequest: kr})
	if err != nil {
		return authority{}, err
	}
	key, err := helpers.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return authority{}, err
	}
	policy := initca.CAPolicy()
	policy.Default.Usage = []string{"digital signature", "cert sign", "crl sign"}
	self, err := local.NewSigner(key, nil, signer.DefaultSigAlgo(key), policy)
	if err != nil {
		return authority{}, err
	}
	start := now.Add(-clockSkew)
	certPEM, err := self.Sign(signer.SignRequest{
		Request: string(request), NotBefore: start, NotAfter: start.Add(authorityLifetime),
	})
	if err != nil {
		return authority{}, err
	}
	return parseAuthority(certPEM, keyPEM, alg)
}

func parseAuthority(certPEM, keyPEM []byte, alg Algorithm) (authority, error) {
	key, err := helpers.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return authority{}, fmt.Errorf("parse key: %w", err)
	}
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return authority{}, errNoPEM
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return authority{}, fmt.Errorf("parse certificate: %w", err)
	}
	return authority{cert: cert, key: key, certPEM: certPEM, keyPEM: keyPEM, algorithm: alg}, nil
}
