package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cloudflare/cfssl/csr"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"

	"slipway.dev/slipway/internal/fault"
)

// Renew makes new certificates with new keys for the named entries of the table, or for all that
// are on the node if none is named. What an administrator has added stays: other names and
// addresses, the subject, and of a kubeconfig all but the certificate and its key. A named entry that
// is not there is made. The kubelet renews its client certificate itself, so that one is left out, as are those that an
// external authority has signed. The faults are certificate-unknown, certificate-external and certificate-invalid.
func (a *Authorities) Renew(c Cluster, n Node, names []string, read Read, now time.Time) ([]File, error) {
	if err := check(c, n); err != nil {
		return nil, err
	}
	entries, err := a.renewable(n, names)
	if err != nil {
		return nil, err
	}
	var out []File
	var errs []error
	for _, e := range entries {
		old, err := e.held(read)
		gone, notHeld := errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotHeld)
		var files []File
		switch {
		case len(names) == 0 && (gone || notHeld):
			continue
		case gone:
			files, err = a.files(e, c, n, now)
		case err != nil:
			err = fault.New("certificate-invalid", fmt.Sprintf("renew certificate %q", e.Name), err,
				fmt.Sprintf("repair %s, or move it away and renew it by its name: it is made anew", absolute(e.certPath())))
		default:
			files, err = a.renew(e, e.request(c, n), old, now)
		}
		out, errs = append(out, files...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

func (a *Authorities) renewable(n Node, names []string) ([]Entry, error) {
	entries := slices.DeleteFunc(Table(), func(e Entry) bool {
		return e.Form == Rotated || !n.ControlPlane && !e.Workers || a.isExternal(e.Authority)
	})
	if len(names) == 0 {
		return entries, nil
	}
	var known []string
	for _, e := range entries {
		known = append(known, e.Name)
	}
	var errs []error
	for _, name := range names {
		switch {
		case slices.Contains(known, name):
		case a.isExternal(authorityOf(name)):
			errs = append(errs, fault.New("certificate-external", fmt.Sprintf("renew certificate %q", name),
				errors.New("this cluster's etcd is not its own, and its authority signs elsewhere"),
				"have it renewed by whoever runs etcd, and put certificate and key into place on each control plane; "+
					"the API servers read them for each new connection"))
		default:
			errs = append(errs, fault.New("certificate-unknown", fmt.Sprintf("renew certificate %q", name),
				fmt.Errorf("node %q can renew %s", n.Name, strings.Join(known, ", ")),
				"choose from these; the kubelet renews its client certificate itself"))
		}
	}
	return slices.DeleteFunc(entries, func(e Entry) bool { return !slices.Contains(names, e.Name) }), errors.Join(errs...)
}

func authorityOf(name string) string {
	for _, e := range Table() {
		if e.Name == name {
			return e.Authority
		}
	}
	return ""
}

func (a *Authorities) renew(e Entry, r *csr.CertificateRequest, old held, now time.Time) ([]File, error) {
	a.keep(e, r, old)
	i, err := a.issue(e, r, now)
	if err != nil {
		return nil, err
	}
	if e.Form != Kubeconfig {
		return pair(e.Path, i), nil
	}
	user := currentUser(old.config)
	user.ClientCertificateData, user.ClientKeyData = i.cert, i.key
	data, err := clientcmd.Write(*old.config)
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig %q: %w", e.Path, err)
	}
	return []File{{Path: e.Path, Data: data, Mode: secret}}, nil
}

// keep takes the subject only from a certificate that this authority has signed: it says who
// somebody is, and kubeadm's kubelets, for example, sign their first serving certificate themselves.
func (a *Authorities) keep(e Entry, r *csr.CertificateRequest, old held) {
	was := csr.ExtractCertificateRequest(old.leaf())
	r.Hosts = unique(append(r.Hosts, was.Hosts...))
	if signedBy(old.chain, a.trusted(e.Authority)) {
		r.CN, r.Names, r.SerialNumber = was.CN, was.Names, was.SerialNumber
	}
}

func (a *Authorities) trusted(name string) []*x509.Certificate {
	trusted, _ := cert.ParseCertsPEM(a.byName()[name].certPEM) // was parsed before; one that is missing has signed nothing
	return trusted
}
