package certs

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/util/cert"
)

// Status says how it is with one certificate of a host.
type Status struct {
	Name string `json:"name"`
	Certificate
	Remaining time.Duration `json:"remaining"`           // negative once expired
	Authority string        `json:"authority,omitempty"` // by which it is to be signed; none for an authority
	External  bool          `json:"external,omitempty"`  // somebody else's: nobody here can renew it
	Findings  []Finding     `json:"findings,omitempty"`  // none: all is well
}

// Finding is one thing that is wrong with a certificate.
type Finding struct {
	Kind   FindingKind `json:"kind"`
	Detail string      `json:"detail"`
}

// FindingKind is stable, for programs.
type FindingKind string

// What can be wrong.
const (
	Unreadable     FindingKind = "unreadable" // neither PEM nor a kubeconfig
	Expired        FindingKind = "expired"
	ExpiresSoon    FindingKind = "expires-soon" // within 30 days
	NotYetValid    FindingKind = "not-yet-valid"
	OtherAuthority FindingKind = "other-authority" // not signed by the one that lies beside it
	NoAuthority    FindingKind = "no-authority"    // may not sign others, but lies where an authority belongs
	HostsMissing   FindingKind = "hosts-missing"   // names or addresses that the table would issue
	WrongUsage     FindingKind = "wrong-usage"     // not for servers, or not for clients
	KeyMissing     FindingKind = "key-missing"
	KeyMismatch    FindingKind = "key-mismatch" // it is another certificate's, or no key at all
	KeyExposed     FindingKind = "key-exposed"  // the mode of its file gives more than its owner's 0600
)

const soon = 30 * 24 * time.Hour

// Check looks at every certificate that lies on the host whose file system is at root: its
// authorities first, then what the table lists. Without a node's name, names and addresses are
// not compared. What is wrong with a certificate is no error, only what cannot be read is.
func Check(root string, c Cluster, n Node, now time.Time) ([]Status, error) {
	k := checker{root: root, cluster: c, node: n, now: now}
	var out []Status
	var errs []error
	for _, e := range append(authorityEntries(), Table()...) {
		s, err := k.status(e)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotHeld):
		case err != nil:
			errs = append(errs, fmt.Errorf("check certificate %q: %w", e.Name, err))
		default:
			out = append(out, s)
		}
	}
	return out, errors.Join(errs...)
}

// authorityEntries are no part of the table, whose rows are all issued by these.
func authorityEntries() []Entry {
	var out []Entry
	for _, name := range authorityNames() {
		out = append(out, Entry{Name: name, Path: authorityPath(name)})
	}
	return out
}

type checker struct {
	root    string
	cluster Cluster
	node    Node
	now     time.Time
}

func (k checker) status(e Entry) (Status, error) {
	s := Status{Name: e.Name, Authority: e.Authority, Certificate: Certificate{Path: absolute(e.certPath())}}
	s.External = slices.Contains(k.cluster.External(), cmp.Or(e.Authority, e.Name))
	h, err := e.held(Host(k.root))
	var failed *fs.PathError
	switch {
	case errors.Is(err, errNotHeld) || errors.As(err, &failed):
		return s, err
	case err != nil:
		s.Findings = []Finding{{Unreadable, err.Error()}}
		return s, nil //nolint:nilerr // what is wrong with a certificate is a finding
	}
	s.Certificate = certificateAt(s.Path, h.leaf())
	s.Remaining = s.NotAfter.Sub(k.now)
	var own []Finding
	if !s.External { // whom etcd trusts need not be who signed etcd's own certificates
		if own, err = k.standing(e, h); err != nil {
			return s, err
		}
	}
	key, err := k.key(e, h)
	s.Findings = slices.Concat(k.dates(h.leaf()), own, key)
	return s, err
}

// standing is by whom it is signed, for which names, and what it is good for.
func (k checker) standing(e Entry, h held) ([]Finding, error) {
	if e.Authority == "" {
		return rights(e, h.leaf()), nil
	}
	other, err := k.signature(e, h)
	return slices.Concat(other, k.hosts(e, h.leaf()), rights(e, h.leaf())), err
}

func (k checker) dates(c *x509.Certificate) []Finding {
	switch {
	case k.now.After(c.NotAfter):
		return []Finding{{Expired, "since " + day(c.NotAfter)}}
	case k.now.Before(c.NotBefore):
		return []Finding{{NotYetValid, "until " + day(c.NotBefore)}}
	case c.NotAfter.Sub(k.now) < soon:
		return []Finding{{ExpiresSoon, "on " + day(c.NotAfter)}}
	}
	return nil
}

// rights are to sign others, for an authority, and to be a server or a client for the rest.
func rights(e Entry, c *x509.Certificate) []Finding {
	var out []Finding
	if e.Authority == "" && !isAuthority(c) {
		out = append(out, Finding{NoAuthority, c.Subject.String() + " may not sign others"})
	}
	if e.Server && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		out = append(out, Finding{WrongUsage, "not for servers"})
	}
	if e.Client && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		out = append(out, Finding{WrongUsage, "not for clients"})
	}
	return out
}

// signature trusts every certificate in the authority's file, as the components do: while an
// authority is replaced, the old one and the new one lie there together.
func (k checker) signature(e Entry, h held) ([]Finding, error) {
	path := authorityPath(e.Authority) + ".crt"
	data, err := readIfThere(Host(k.root), path)
	if err != nil {
		return nil, err
	}
	authorities, _ := cert.ParseCertsPEM(data) // what is wrong with the file is the authority's own finding
	if signedBy(h.chain, authorities) {
		return nil, nil
	}
	detail := fmt.Sprintf("its issuer is %s, and no authority in %s has signed it", h.leaf().Issuer, absolute(path))
	return []Finding{{OtherAuthority, detail}}, nil
}

func (k checker) hosts(e Entry, leaf *x509.Certificate) []Finding {
	if k.node.Name == "" {
		return nil
	}
	missing := slices.DeleteFunc(e.request(k.cluster, k.node).Hosts, func(host string) bool {
		return leaf.VerifyHostname(host) == nil
	})
	if len(missing) == 0 {
		return nil
	}
	return []Finding{{HostsMissing, strings.Join(missing, ", ")}}
}

func (k checker) key(e Entry, h held) ([]Finding, error) {
	if h.key == nil {
		if e.Authority == "" { // a worker has the authority without the key
			return nil, nil
		}
		return []Finding{{KeyMissing, "there is no " + absolute(e.keyPath())}}, nil
	}
	var out []Finding
	if key, err := parseKey(h.key); err != nil {
		out = append(out, Finding{KeyMismatch, err.Error()})
	} else if !samePublicKey(h.leaf().PublicKey, key.Public()) {
		out = append(out, Finding{KeyMismatch, absolute(e.keyPath()) + " has another certificate's key"})
	}
	info, err := os.Stat(onHost(k.root, e.keyPath()))
	if err != nil {
		return out, err
	}
	if mode := info.Mode().Perm(); mode&^secret != 0 {
		out = append(out, Finding{KeyExposed, fmt.Sprintf("%s has mode %#o, not %#o", absolute(e.keyPath()), mode, secret)})
	}
	return out, nil
}
