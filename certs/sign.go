package certs

import (
	"errors"
	"fmt"
	"time"

	"github.com/cloudflare/cfssl/config"
	"github.com/cloudflare/cfssl/csr"
	"github.com/cloudflare/cfssl/signer"
	"github.com/cloudflare/cfssl/signer/local"

	"slipway.dev/slipway/internal/fault"
)

// issued is one signed certificate with its key, in PEM.
type issued struct {
	cert, key []byte
}

func (a *Authorities) issue(e Entry, r *csr.CertificateRequest, now time.Time) (issued, error) {
	ca := a.byName()[e.Authority]
	if ca == nil || ca.cert == nil {
		return issued{}, fault.New("authority-missing", fmt.Sprintf("sign certificate %q", e.Name),
			fmt.Errorf("there is no authority %q here", authorityPath(e.Authority)+".crt"),
			"sign it on a control plane that has this authority")
	}
	request, key, err := newRequest(a.algorithm, r)
	if err != nil {
		return issued{}, fmt.Errorf("request certificate %q: %w", e.Name, err)
	}
	signed, err := ca.sign(request, a.usages(e), now)
	if err != nil {
		return issued{}, fmt.Errorf("sign certificate %q: %w", e.Name, err)
	}
	return issued{cert: signed, key: key}, nil
}

// usages leaves key encipherment to RSA: RFC 8813 forbids it for elliptic curve keys, and
// kubeadm, which always sets it, only gets away with it because Go does not look.
func (a *Authorities) usages(e Entry) []string {
	usages := []string{"digital signature"}
	if a.algorithm == RSA {
		usages = append(usages, "key encipherment")
	}
	if e.Server {
		usages = append(usages, "server auth")
	}
	if e.Client {
		usages = append(usages, "client auth")
	}
	return usages
}

func (ca *authority) sign(request []byte, usages []string, now time.Time) ([]byte, error) {
	start, end, err := ca.lifetime(now)
	if err != nil {
		return nil, err
	}
	policy := &config.Signing{Default: &config.SigningProfile{
		Usage: usages, Expiry: leafLifetime, ExpiryString: leafLifetime.String(),
	}}
	s, err := local.NewSigner(ca.key, ca.cert, signer.DefaultSigAlgo(ca.key), policy)
	if err != nil {
		return nil, err
	}
	return s.Sign(signer.SignRequest{Request: string(request), NotBefore: start, NotAfter: end})
}

// lifetime never reaches beyond the authority's own, which strict clients refuse.
func (ca *authority) lifetime(now time.Time) (start, end time.Time, err error) {
	if now.After(ca.cert.NotAfter) {
		return start, end, errors.New("the authority has expired")
	}
	start = now.Add(-clockSkew)
	if start.Before(ca.cert.NotBefore) {
		start = ca.cert.NotBefore
	}
	end = start.Add(leafLifetime)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	return start, end, nil
}
