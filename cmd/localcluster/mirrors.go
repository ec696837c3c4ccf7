package localcluster

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/internal/fault"
)

// parseMirrors reads what --registry-mirror says, [HOST=]URL each, with the URLs as they are from this computer. The authorities
// in the file ca are for those with https.
func parseMirrors(texts []string, ca string) ([]bootstrap.Mirror, error) {
	var out []bootstrap.Mirror
	var errs []error
	for _, text := range texts {
		m, err := parseMirror(text)
		if err == nil && ca != "" && strings.HasPrefix(m.URL, "https:") {
			m.CA, err = authorities(ca)
		}
		excludes := func(o bootstrap.Mirror) bool { return o.Host == m.Host && (m.Only || o.Only || o.URL == m.URL) }
		if err == nil && slices.ContainsFunc(out, excludes) {
			err = fmt.Errorf("%q is there already", m.Host)
		}
		if err != nil {
			errs = append(errs, fault.New("option-invalid", fmt.Sprintf("use --registry-mirror %q", text), err,
				"see `slipway up --help`: for example docker.io=http://localhost:5000, or http://localhost:5000"))
			continue
		}
		out = append(out, m)
	}
	return out, errors.Join(errs...)
}

func parseMirror(text string) (m bootstrap.Mirror, err error) {
	host, address, named := strings.Cut(text, "=")
	if !named {
		address = text
	}
	u, err := url.Parse(address)
	if err != nil {
		return m, err
	}
	if err := checkMirrorURL(u); err != nil {
		return m, err
	}
	m = bootstrap.Mirror{Host: host, URL: u.Scheme + "://" + u.Host}
	if !named {
		m.Host, m.Only = u.Host, true
	}
	if m.Host == bootstrap.AnyHost {
		return m, nil
	}
	ref, err := reference.ParseNormalizedNamed(m.Host + "/image")
	if err != nil || reference.Domain(ref) != m.Host || strings.ToLower(m.Host) != m.Host {
		return m, fmt.Errorf("%q is not the name of a registry, as those of images begin", m.Host)
	}
	return m, nil
}

func checkMirrorURL(u *url.URL) error {
	host, local := u.Hostname(), false
	if a, err := netip.ParseAddr(host); err == nil {
		local = a.IsLoopback()
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", host == "":
		return errors.New("its URL is http://HOST:PORT or https://HOST:PORT")
	case u.User != nil, strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "":
		return errors.New("its URL has only a scheme, a host and a port")
	case mirrorPort(u) == 0:
		return fmt.Errorf("%q is not a port", u.Port())
	case local && host != "127.0.0.1":
		return errors.New("of this computer's own addresses only 127.0.0.1 is passed on to nodes")
	case onThisComputer(host) && u.Scheme == "https":
		return errors.New("nodes reach this computer by another address, which a certificate for this one is not good for: " +
			"use http, or a certificate for a name like registry.localhost, and that name")
	}
	return nil
}

// mirrorPort is 0 for what is none.
func mirrorPort(u *url.URL) uint16 {
	text := u.Port()
	if text == "" {
		text = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}

// onThisComputer finds the two names of this computer that mean something else on a node.
func onThisComputer(host string) bool { return host == "localhost" || host == "127.0.0.1" }

// nameOfThisComputer finds the names that mean this computer everywhere (RFC 6761), and on nodes what their hosts file says.
func nameOfThisComputer(host string) bool { return strings.HasSuffix(host, ".localhost") }

// authorities reads a file that has some.
func authorities(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		err = errors.New("there is no certificate in it")
	}
	if err != nil {
		return "", fmt.Errorf("read --registry-ca %q: %w", file, err)
	}
	return string(text), nil
}

// fromNodes gives the mirrors with their URLs as they are from nodes, to which this computer is the gateway.
func fromNodes(mirrors []bootstrap.Mirror, gateway netip.Addr) []bootstrap.Mirror {
	out := slices.Clone(mirrors)
	for i := range out {
		if u := mirrorURL(out[i]); onThisComputer(u.Hostname()) {
			out[i].URL = u.Scheme + "://" + net.JoinHostPort(gateway.String(), strconv.Itoa(int(mirrorPort(u))))
		}
	}
	return out
}

// mirrorURL parses what was parsed before.
func mirrorURL(m bootstrap.Mirror) *url.URL {
	u, err := url.Parse(m.URL)
	if err != nil {
		return &url.URL{}
	}
	return u
}

// loopbackPorts are those of this computer's loopback that nodes must reach for the mirrors.
func loopbackPorts(mirrors []bootstrap.Mirror) []uint16 {
	var out []uint16
	for _, m := range mirrors {
		u := mirrorURL(m)
		if port := mirrorPort(u); (onThisComputer(u.Hostname()) || nameOfThisComputer(u.Hostname())) && !slices.Contains(out, port) {
			out = append(out, port)
		}
	}
	slices.Sort(out)
	return out
}

// describe is for comparing mirrors, and for people.
func describe(mirrors []bootstrap.Mirror) string {
	var out []string
	for _, m := range mirrors {
		text := m.Host + "=" + m.URL
		if m.CA != "" {
			text += fmt.Sprintf(" (authority %.6x)", sha256.Sum256([]byte(m.CA)))
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}
