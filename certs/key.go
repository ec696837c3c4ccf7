package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/cloudflare/cfssl/csr"
	"k8s.io/client-go/util/keyutil"
)

func (a Algorithm) request() (*csr.KeyRequest, error) {
	switch a {
	case ECDSA, "":
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

// parseKey takes PKCS#1, SEC 1 and PKCS#8, so what kubeadm, openssl and this package write.
func parseKey(keyPEM []byte) (crypto.Signer, error) {
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of the kind %T cannot sign", key)
	}
	return signer, nil
}

// algorithmOf is the kind of key that goes with an existing one, whatever its size.
func algorithmOf(key crypto.Signer) (Algorithm, error) {
	switch key.(type) {
	case *ecdsa.PrivateKey:
		return ECDSA, nil
	case *rsa.PrivateKey:
		return RSA, nil
	default:
		return "", fmt.Errorf("its key is of the kind %T, and not every Kubernetes component accepts that", key)
	}
}

func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
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
