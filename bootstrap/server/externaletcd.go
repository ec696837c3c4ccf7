package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"k8s.io/client-go/util/cert"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/internal/fault"
)

// ExternalEtcd says where an etcd is that the cluster does not run itself, and with what to reach it.
type ExternalEtcd struct {
	Endpoints                 []string
	CAFile, CertFile, KeyFile string
}

// urls are what a cluster is compared by.
func (e *ExternalEtcd) urls() []string {
	if e == nil {
		return nil
	}
	return e.Endpoints
}

// read gives what is in the files. The error has a fault external-etcd-invalid for each thing that is wrong.
func (e *ExternalEtcd) read(now time.Time) (etcd.Identity, error) {
	var p etcdProblems
	p.endpoints(e.Endpoints)
	id := etcd.Identity{CA: p.file("caFile", e.CAFile), Cert: p.file("certFile", e.CertFile), Key: p.file("keyFile", e.KeyFile)}
	p.exposed(e.KeyFile)
	if id.CA != nil {
		if err := checkAny(id.CA, now); err != nil {
			p.add("caFile", e.CAFile, err, "take the authority that has signed the certificates of etcd's members")
		}
	}
	if id.Cert == nil {
		return id, errors.Join(p...)
	}
	if err := checkFirst(id.Cert, now); err != nil {
		p.add("certFile", e.CertFile, err, "take the certificate of a client of etcd")
	} else if _, err := tls.X509KeyPair(id.Cert, id.Key); id.Key != nil && err != nil {
		p.add("keyFile", e.KeyFile, err, "take the key of that certificate, without a passphrase")
	}
	return id, errors.Join(p...)
}

// etcdProblems are all that is wrong with an external etcd.
type etcdProblems []error

func (p *etcdProblems) add(field, value string, err error, next string) {
	*p = append(*p, fault.New("external-etcd-invalid", fmt.Sprintf("use etcd.external.%s %q", field, value), err, next))
}

func (p *etcdProblems) endpoints(all []string) {
	if len(all) == 0 {
		p.add("endpoints", "", errors.New("there is none"), "name the URLs of all members")
	}
	for i, u := range all {
		if err := checkURL(u); err != nil {
			p.add("endpoints", u, err, "write it as in https://203.0.113.5:2379")
		} else if slices.Contains(all[:i], u) {
			p.add("endpoints", u, errors.New("it is there twice"), "name each member once")
		}
	}
}

// file gives nil for one that cannot be read.
func (p *etcdProblems) file(field, path string) []byte {
	const next = "name a PEM file that is on this host"
	if path == "" {
		p.add(field, path, errors.New("there is none"), next)
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		p.add(field, path, err, next)
		return nil
	}
	return append([]byte{}, data...)
}

// exposed refuses a key that is not secret. That of a group may have reasons.
func (p *etcdProblems) exposed(path string) {
	const others fs.FileMode = 0o007
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&others == 0 {
		return // that it cannot be read was said
	}
	p.add("keyFile", path, fmt.Errorf("everybody on this host can read or change it, with mode %04o", info.Mode().Perm()),
		fmt.Sprintf("run `chmod 600 %s`; if others have been on this host, have a new key made", path))
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https":
		return errors.New("it does not begin with https://")
	case u.Hostname() == "":
		return errors.New("it has no host")
	case u.User != nil, u.Path != "", u.RawQuery != "", u.Fragment != "":
		return errors.New("it has more than host and port")
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
		return errors.New("it has no port")
	}
	return nil
}

// checkAny wants one certificate that is good: while an authority is replaced, the old one lies beside the new one.
func checkAny(pem []byte, now time.Time) error {
	all, err := cert.ParseCertsPEM(pem)
	if err != nil {
		return err
	}
	for _, c := range all {
		if err = checkDates(c, now); err == nil {
			return nil
		}
	}
	return err
}

// checkFirst wants the first certificate to be good; its chain may follow.
func checkFirst(pem []byte, now time.Time) error {
	all, err := cert.ParseCertsPEM(pem)
	if err != nil {
		return err
	}
	return checkDates(all[0], now)
}

func checkDates(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("it expired on %s", c.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(c.NotBefore):
		return fmt.Errorf("it is not valid before %s", c.NotBefore.UTC().Format(time.DateOnly))
	}
	return nil
}

// external is what a new cluster begins with; nil where its control planes run etcd.
func (o InitOptions) external(now time.Time) (*preflight.ExternalEtcd, error) {
	if o.ExternalEtcd == nil {
		return nil, nil
	}
	id, err := o.ExternalEtcd.read(now)
	return &preflight.ExternalEtcd{URLs: o.ExternalEtcd.Endpoints, Identity: id}, err
}

// sharedEtcd is what a control plane that joins is given; nil where it runs a member, and for workers.
func sharedEtcd(c bootstrap.Cluster, shared map[string][]byte) *preflight.ExternalEtcd {
	if len(c.ExternalEtcd) == 0 || shared == nil {
		return nil
	}
	id := etcd.Identity{CA: shared[invite.EtcdCA], Cert: shared[invite.EtcdCert], Key: shared[invite.EtcdKey]}
	return &preflight.ExternalEtcd{URLs: c.ExternalEtcd, Identity: id, Used: true}
}

// externalEtcdFiles lie where a cluster has its own etcd's, so that what reads those finds them.
func externalEtcdFiles(e *preflight.ExternalEtcd) []engine.File {
	if e == nil {
		return nil
	}
	var out []engine.File
	for _, f := range []struct {
		path string
		data []byte
		mode fs.FileMode
	}{{invite.EtcdCA, e.Identity.CA, 0o644}, {invite.EtcdCert, e.Identity.Cert, 0o644}, {invite.EtcdKey, e.Identity.Key, 0o600}} {
		out = append(out, engine.File{Path: filepath.Join("/etc/kubernetes", f.path), Data: f.data, Mode: f.mode})
	}
	return out
}
