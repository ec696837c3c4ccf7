package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"k8s.io/client-go/util/keyutil"

	"slipway.dev/slipway/internal/fault"
)

// Read gives the content of one file of a host. A path is as in File: below /etc/kubernetes, or
// absolute. What is not there is fs.ErrNotExist.
type Read func(path string) ([]byte, error)

// LoadAuthorities takes the authorities that lie on a host already, whoever made them. A pair of
// which neither file is there is missing, see Missing and Complete; all that is wrong with the others
// is told at once. Those that are external, see Cluster.External, are not looked at, nor made by Complete.
func LoadAuthorities(read Read, now time.Time, external ...string) (*Authorities, error) {
	a := &Authorities{external: external}
	var errs []error
	for _, name := range a.own() {
		ca, err := loadAuthority(read, authorityPath(name), now)
		*a.byName()[name] = ca
		errs = append(errs, err)
	}
	var err error
	a.serviceAccount, err = loadServiceAccount(read, authorityPath(ServiceAccount))
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	for _, name := range slices.Backward(authorityNames()) { // so that the cluster's own decides, if it is there
		if ca := a.byName()[name]; ca.cert != nil {
			a.algorithm, _ = algorithmOf(ca.key) // loadAuthority has looked
		}
	}
	return a, nil
}

func loadAuthority(read Read, base string, now time.Time) (authority, error) {
	certPEM, keyPEM, err := readPair(read, base+".crt", base+".key")
	switch {
	case err != nil:
		return authority{}, invalid(base, err, "make both files readable, or move both away so that new ones are made")
	case certPEM == nil && keyPEM == nil:
		return authority{}, nil
	case keyPEM == nil:
		return authority{}, invalid(base, fmt.Errorf("there is a certificate, but no %s.key", base),
			"put the key beside it: an external authority, whose key lies elsewhere, is not supported yet")
	case certPEM == nil:
		return authority{}, invalid(base, fmt.Errorf("there is a key, but no %s.crt", base),
			"put the certificate back, or move the key away so that a new authority is made")
	}
	ca, err := parseAuthority(certPEM, keyPEM)
	if err != nil {
		return authority{}, invalid(base, err, "put back the PEM files that belong there")
	}
	return ca, errors.Join(ca.problems(base, now)...)
}

func (ca *authority) problems(base string, now time.Time) []error {
	var out []error
	if _, err := algorithmOf(ca.key); err != nil {
		out = append(out, invalid(base, err, "use an authority with an RSA or ECDSA key"))
	}
	if !samePublicKey(ca.cert.PublicKey, ca.key.Public()) {
		out = append(out, invalid(base, errors.New("the key does not belong to the first certificate"),
			"put back the pair that belongs together"))
	}
	if !isAuthority(ca.cert) {
		out = append(out, invalid(base, fmt.Errorf("the first certificate (%s) may not sign others", ca.cert.Subject),
			"put the certificate of the authority there, its chain after it"))
	}
	if now.After(ca.cert.NotAfter) {
		out = append(out, invalid(base, fmt.Errorf("it expired on %s", day(ca.cert.NotAfter)),
			"replace the authority, and then all certificates that it signed"))
	}
	if now.Add(clockSkew).Before(ca.cert.NotBefore) {
		out = append(out, invalid(base, fmt.Errorf("it is not valid before %s", day(ca.cert.NotBefore)), "set this host's clock"))
	}
	return out
}

// loadServiceAccount needs a key for the public half, which may hold more: those of keys that were
// replaced, whose tokens are still good.
func loadServiceAccount(read Read, base string) (serviceAccount, error) {
	public, private, err := readPair(read, base+".pub", base+".key")
	switch {
	case err != nil:
		return serviceAccount{}, invalid(base, err, "make both files readable, or move both away so that new ones are made")
	case public == nil && private == nil:
		return serviceAccount{}, nil
	case private == nil:
		return serviceAccount{}, invalid(base, fmt.Errorf("there is no %s.key", base), "put the key that signs tokens beside it")
	case public == nil:
		return serviceAccount{}, invalid(base, fmt.Errorf("there is no %s.pub", base),
			"make it from the key: `openssl pkey -in sa.key -pubout -out sa.pub`")
	}
	const restore = "put back the pair that belongs together: tokens that pods hold are verified with it"
	key, err := parseKey(private)
	if err != nil {
		return serviceAccount{}, invalid(base, fmt.Errorf("parse %s.key: %w", base, err), restore)
	}
	keys, err := keyutil.ParsePublicKeysPEM(public)
	if err != nil {
		return serviceAccount{}, invalid(base, fmt.Errorf("parse %s.pub: %w", base, err), restore)
	}
	if !slices.ContainsFunc(keys, func(k any) bool { return samePublicKey(k, key.Public()) }) {
		return serviceAccount{}, invalid(base, fmt.Errorf("%s.pub is not the public half of %s.key", base, base), restore)
	}
	return serviceAccount{private: private, public: public}, nil
}

func readPair(read Read, first, second string) (a, b []byte, err error) {
	a, errA := readIfThere(read, first)
	b, errB := readIfThere(read, second)
	return a, b, errors.Join(errA, errB)
}

// readIfThere gives nil only for a file that is not there: an empty one is damaged, not missing.
func readIfThere(read Read, path string) ([]byte, error) {
	data, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil && data == nil:
		return []byte{}, nil
	}
	return data, err
}

func invalid(base string, why error, next string) error {
	return fault.New("authority-invalid", fmt.Sprintf("use the authority %q", base), why, next)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
