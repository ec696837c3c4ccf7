package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"slipway.dev/slipway/internal/fault"
)

// Options say how a registry is trusted. Who the user is there comes from Docker's configuration (docker login, podman login).
type Options struct {
	CA        string // file with authorities that are trusted besides the system's
	PlainHTTP bool   // let what is not on this host be spoken to without TLS
}

// repository is one repository of a registry, and how to speak to it.
type repository struct {
	ref  Ref
	name name.Repository
	base http.RoundTripper // without who the user is
}

// How long a registry may take to begin with its answer: what it was sent it may first have to move to a store elsewhere.
const (
	answerTime = 30 * time.Second
	storeTime  = 10 * time.Minute
)

func newRepository(ref Ref, o Options, patience time.Duration) (*repository, error) {
	var opts []name.Option
	if o.PlainHTTP {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(ref.registry, opts...)
	if err != nil {
		return nil, err
	}
	t, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the registry library has no transport of its own")
	}
	t = t.Clone()
	t.ResponseHeaderTimeout = patience
	if o.CA != "" {
		if t.TLSClientConfig, err = trusting(o.CA); err != nil {
			return nil, err
		}
	}
	return &repository{ref: ref, name: reg.Repo(ref.repository), base: &guard{RoundTripper: t, plain: o.PlainHTTP}}, nil
}

// trusting trusts the authorities in a file besides those of the system.
func trusting(file string) (*tls.Config, error) {
	bad := func(err error) error {
		return fault.New("option-invalid", fmt.Sprintf("use --registry-ca %q", file), err,
			"give a file with the certificate of the registry's authority as PEM")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, bad(err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, bad(errors.New("there is no certificate in it"))
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// errPlain is why a request was not sent.
var errPlain = errors.New("it would have to be spoken to over plain HTTP, where anybody in between can read and change everything")

// guard sends nothing over plain HTTP, also after a redirect, but to this host or if the user wants that. The library
// would speak it to private addresses as well.
type guard struct {
	http.RoundTripper
	plain bool
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !g.plain && !loopback(r.URL.Hostname()) {
		return nil, errPlain
	}
	return g.RoundTripper.RoundTrip(r)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// counter tells of the bytes that requests carry. The library's own progress does not survive a request that is still sent
// when it returns.
type counter struct {
	http.RoundTripper
	sent func(int64)
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		counted := *r // whose request it is may not see it changed
		counted.Body = &countedBody{r.Body, c.sent}
		r = &counted
	}
	return c.RoundTripper.RoundTrip(r)
}

type countedBody struct {
	io.ReadCloser
	sent func(int64)
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sent(int64(n))
	return n, err
}

// client proves who the user is, and sends what fails for a moment again.
func (r *repository) client(ctx context.Context) (*http.Client, error) {
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, r.name)
	if err != nil {
		return nil, fault.New("registry-denied", fmt.Sprintf("find the credentials for registry %q", r.ref.registry), err,
			"repair Docker's configuration, or log in again with `docker login` or `podman login`")
	}
	again := transport.NewRetry(r.base, transport.WithRetryStatusCodes(http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout))
	t, err := transport.NewWithContext(ctx, r.name.Registry, auth, again, []string{r.name.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

// failed says in the user's terms why the registry could not be used.
func (r *repository) failed(op string, err error) error {
	if len(fault.All(err)) > 0 || errors.Is(err, context.Canceled) {
		return err
	}
	var answer *transport.Error
	errors.As(err, &answer)
	switch {
	case answer != nil && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return fault.New("registry-denied", op, err, fmt.Sprintf("log in with `docker login %s` or `podman login %s` as a user who may do that",
			r.ref.registry, r.ref.registry))
	case answer != nil && answer.StatusCode == http.StatusNotFound:
		return fault.New("bundle-missing", op, fmt.Errorf("there is none: %w", err),
			"check the name and the tag, or put it there with `slipway images push`")
	case isCertificate(err):
		return fault.New("registry-untrusted", op, err, "name the file of its authority with --registry-ca")
	case isPlain(err):
		return fault.New("registry-untrusted", op, err, "let it use TLS, or allow plain HTTP with --registry-plain-http")
	}
	return fault.New("registry-unreachable", op, err, "check the address, the network and the registry, then run the same command again")
}

// isPlain tells whether the registry does without TLS. To a private address the library would speak both ways and joins what
// came of them: that one was not allowed says nothing where nobody was reached by the other.
func isPlain(err error) bool {
	var unreached *net.OpError
	if errors.As(err, &unreached) && unreached.Op == "dial" {
		return false
	}
	return errors.Is(err, errPlain) || errors.Is(err, http.ErrSchemeMismatch)
}

func isCertificate(err error) bool {
	var bad *tls.CertificateVerificationError
	return errors.As(err, &bad)
}
