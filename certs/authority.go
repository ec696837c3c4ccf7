package certs

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/cloudflare/cfssl/csr"
	"github.com/cloudflare/cfssl/initca"
	"github.com/cloudflare/cfssl/signer"
	"github.com/cloudflare/cfssl/signer/local"
	"k8s.io/client-go/util/cert"
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
// service account tokens. Those that were loaded from a host may lack some: see Missing.
type Authorities struct {
	algorithm               Algorithm // of all keys that are made: the cluster authority's own kind
	cluster, etcd, frontend authority
	serviceAccount          serviceAccount
	external                []string // authorities that are somebody else's, by their names
}

// authority is the certificate that signs, with its key. The PEM is what lies on disk, byte for
// byte: it may hold a chain, which clients need and which is never written differently.
type authority struct {
	cert            *x509.Certificate
	key             crypto.Signer
	certPEM, keyPEM []byte
}

// NewAuthorities makes new authorities, valid for ten years from now. An empty algorithm is ECDSA.
func NewAuthorities(alg Algorithm, now time.Time) (*Authorities, error) {
	a := &Authorities{}
	if err := a.Complete(alg, now); err != nil {
		return nil, err
	}
	return a, nil
}

// Complete makes the authorities that are missing, as NewAuthorities does. The algorithm counts
// only if there is no cluster authority yet: keys are of the same kind as those that are there.
func (a *Authorities) Complete(alg Algorithm, now time.Time) (err error) {
	if a.cluster.cert == nil {
		a.algorithm = alg
	}
	for _, name := range a.own() {
		dst := a.byName()[name]
		if dst.cert != nil {
			continue
		}
		if *dst, err = newAuthority(commonNames()[name], a.algorithm, now); err != nil {
			return fmt.Errorf("make certificate authority %q: %w", name, err)
		}
	}
	if a.serviceAccount.private == nil {
		a.serviceAccount, err = newServiceAccount(a.algorithm)
	}
	return err
}

// Missing names what is not there, by the base names of the files: see the constants.
func (a *Authorities) Missing() []string {
	var out []string
	for _, name := range a.own() {
		if a.byName()[name].cert == nil {
			out = append(out, name)
		}
	}
	if a.serviceAccount.private == nil {
		out = append(out, ServiceAccount)
	}
	return out
}

func (a *Authorities) own() []string {
	return slices.DeleteFunc(authorityNames(), a.isExternal)
}

func (a *Authorities) isExternal(name string) bool { return slices.Contains(a.external, name) }

func (a *Authorities) byName() map[string]*authority {
	return map[string]*authority{ClusterCA: &a.cluster, EtcdCA: &a.etcd, FrontProxyCA: &a.frontend}
}

func newAuthority(commonName string, alg Algorithm, now time.Time) (authority, error) {
	request, keyPEM, err := newRequest(alg, &csr.CertificateRequest{CN: commonName})
	if err != nil {
		return authority{}, err
	}
	key, err := parseKey(keyPEM)
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
	return parseAuthority(certPEM, keyPEM)
}

// parseAuthority takes the first certificate for the one that signs; what follows is its chain.
func parseAuthority(certPEM, keyPEM []byte) (authority, error) {
	chain, err := cert.ParseCertsPEM(certPEM)
	if err != nil {
		return authority{}, fmt.Errorf("parse certificate: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return authority{}, fmt.Errorf("parse key: %w", err)
	}
	return authority{cert: chain[0], key: key, certPEM: certPEM, keyPEM: keyPEM}, nil
}
