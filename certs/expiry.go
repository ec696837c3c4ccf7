package certs

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
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
		c, err := first(data)
		if err != nil {
			return nil, fmt.Errorf("read certificate %q: %w", p, err)
		}
		out = append(out, Certificate{Path: p, Subject: c.Subject.String(), NotAfter: c.NotAfter})
	}
	return out, nil
}

func embedded(data []byte) ([]byte, error) {
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, err
	}
	if c := config.Contexts[config.CurrentContext]; c != nil {
		if user := config.AuthInfos[c.AuthInfo]; user != nil {
			return user.ClientCertificateData, nil
		}
	}
	return nil, nil
}

// first is the leaf: what follows it in a file is its chain.
func first(data []byte) (*x509.Certificate, error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errNoPEM
		}
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
		data = rest
	}
}
