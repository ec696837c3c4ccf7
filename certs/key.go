package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/cloudflare/cfssl/csr"
)

var errNoPEM = errors.New("no PEM block")

func (a Algorithm) request() (*csr.KeyRequest, error) {
	switch a {
	case ECDSA:
		return &csr.KeyRequest{A: "ecdsa", S: 256}, nil
	case RSA:
		return &csr.KeyRequest{A: "rsa", S: 2048}, nil
	default:
		return nil, fmt.Errorf("use key algorithm %q: not one of %q, %q", a, ECDSA, RSA)
	}
}

// serviceAccount is a bare key pair: tokens are verified by the key alone, no certificate.
type serviceAccount struct {
	private, public []byte
}

func newServiceAccount(alg Algorithm) (serviceAccount, error) {
	kr, err := alg.request()
	if err != nil {
		return serviceAccount{}, err
	}
	key, err := kr.Generate()
	if err != nil {
		return serviceAccount{}, fmt.Errorf("make service account key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return serviceAccount{}, fmt.Errorf("make service account key: %T cannot sign", key)
	}
	private, err := encodeKey(signer)
	if err != nil {
		return serviceAccount{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return serviceAccount{}, fmt.Errorf("encode service account key: %w", err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return serviceAccount{private: private, public: public}, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			return nil, fmt.Errorf("encode key: %w", err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
	case *rsa.PrivateKey:
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}), nil
	default:
		return nil, fmt.Errorf("encode key: unknown kind %T", key)
	}
}
