package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
)

const kubernetesDir = "/etc/kubernetes"

// Host reads the files of the host whose file system lies at root, "/" for this one.
func Host(root string) Read {
	return func(path string) ([]byte, error) { return os.ReadFile(onHost(root, path)) }
}

// onHost follows an absolute link, as the kubelet makes for its client certificate, below root.
func onHost(root, path string) string {
	full := filepath.Join(root, absolute(path))
	if target, err := os.Readlink(full); err == nil && filepath.IsAbs(target) {
		return filepath.Join(root, target)
	}
	return full
}

func absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(kubernetesDir, path)
}

// errNotHeld: a kubeconfig may carry a token, or refer to a file that is looked after elsewhere.
var errNotHeld = errors.New("it has no client certificate in it")

// held is what lies on a host for an entry of the table.
type held struct {
	chain  []*x509.Certificate // of at least the leaf
	key    []byte              // nil if it is not there
	config *api.Config         // of a kubeconfig
}

func (h held) leaf() *x509.Certificate { return h.chain[0] }

// held reads what there is. It fails with fs.ErrNotExist or errNotHeld if that is no certificate.
func (e Entry) held(read Read) (h held, err error) {
	data, err := read(e.certPath())
	if err != nil {
		return held{}, err
	}
	switch e.Form {
	case Pair:
		h.key, err = readIfThere(read, e.keyPath())
	case Rotated:
		h.key = data
	case Kubeconfig:
		data, err = h.unpack(data)
	}
	if err != nil {
		return held{}, err
	}
	if h.chain, err = cert.ParseCertsPEM(data); err != nil {
		return held{}, fmt.Errorf("parse certificate: %w", err)
	}
	return h, nil
}

func (h *held) unpack(kubeconfig []byte) (certPEM []byte, err error) {
	if h.config, err = clientcmd.Load(kubeconfig); err != nil {
		return nil, fmt.Errorf("parse kubeconfig: %w", err)
	}
	user := currentUser(h.config)
	if user == nil || len(user.ClientCertificateData) == 0 {
		return nil, errNotHeld
	}
	h.key = user.ClientKeyData
	return user.ClientCertificateData, nil
}

func (e Entry) certPath() string {
	if e.Form == Pair {
		return e.Path + ".crt"
	}
	return e.Path
}

func (e Entry) keyPath() string {
	if e.Form == Pair {
		return e.Path + ".key"
	}
	return e.Path
}

func isAuthority(c *x509.Certificate) bool {
	return c.BasicConstraintsValid && c.IsCA && (c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0)
}

// signedBy follows the chain in the file, which is in order as TLS wants it, up to one of the
// authorities. Dates are another matter: an expired certificate is still signed.
func signedBy(chain, authorities []*x509.Certificate) bool {
	for i, c := range chain {
		for _, ca := range authorities {
			if c.CheckSignatureFrom(ca) == nil {
				return true
			}
		}
		if i+1 == len(chain) || c.CheckSignatureFrom(chain[i+1]) != nil {
			return false
		}
	}
	return false
}
