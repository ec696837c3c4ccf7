package certs

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
)

// Certificate says until when one file's certificate is good.
type Certificate struct {
	Path     string    `json:"path"`
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"notAfter"`
}

// Expiry reads the certificate of each file: PEM, or a kubeconfig (.conf) with its embedded
// client certificate. Kubeconfigs that only refer to a file are left out, that file is its own.
func Expiry(path ...string) ([]Certificate, error) {
	var out []Certificate
	for _, p := range path {
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		if filepath.Ext(p) == ".conf" {
			if data, err = embedded(data); err != nil {
				return nil, fmt.Errorf("read kubeconfig %q: %w", p, err)
			}
			if len(data) == 0 {
				continue
			}
		}
		chain, err := cert.ParseCertsPEM(data)
		if err != nil {
			return nil, fmt.Errorf("read certificate %q: %w", p, err)
		}
		out = append(out, certificateAt(p, chain[0]))
	}
	return out, nil
}

func certificateAt(path string, c *x509.Certificate) Certificate {
	return Certificate{Path: path, Subject: c.Subject.String(), NotAfter: c.NotAfter}
}

func embedded(data []byte) ([]byte, error) {
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, err
	}
	if user := currentUser(config); user != nil {
		return user.ClientCertificateData, nil
	}
	return nil, nil
}
