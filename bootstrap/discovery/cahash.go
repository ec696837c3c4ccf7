package discovery

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/fault"
)

// CAHash pins a certificate authority by its public key: the SHA-256 of the SubjectPublicKeyInfo (RFC 7469), so that an
// authority that is renewed with the same key keeps its hash.
type CAHash [sha256.Size]byte

const hashPrefix = "sha256:"

// HashOf gives the hash that pins the certificate's key.
func HashOf(cert *x509.Certificate) CAHash { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// String gives the form that ParseCAHashes reads.
func (h CAHash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// ParseCAHashes reads hashes of the form sha256:<64 hexadecimal digits>. The error has a fault for each that is not.
func ParseCAHashes(texts []string) ([]CAHash, error) {
	hashes := make([]CAHash, 0, len(texts))
	var errs []error
	for _, text := range texts {
		h, err := parseCAHash(text)
		if err != nil {
			errs = append(errs, fault.New("ca-hash-invalid", fmt.Sprintf("read the hash %q of the certificate authority", text), err,
				"copy the whole hash, as in sha256:e3b0...; `slipway token create --print-join-command` on a control plane prints it"))
			continue
		}
		hashes = append(hashes, h)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return hashes, nil
}

func parseCAHash(text string) (CAHash, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(text), hashPrefix)
	if !ok {
		return CAHash{}, fmt.Errorf("it does not begin with %s", hashPrefix)
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != sha256.Size {
		return CAHash{}, fmt.Errorf("after %s come not %d hexadecimal digits", hashPrefix, 2*sha256.Size)
	}
	return CAHash(raw), nil
}

// matching gives the certificates that are pinned.
func matching(bundle []*x509.Certificate, pins []CAHash) []*x509.Certificate {
	var out []*x509.Certificate
	for _, cert := range bundle {
		if slices.Contains(pins, HashOf(cert)) {
			out = append(out, cert)
		}
	}
	return out
}
