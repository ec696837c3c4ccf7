package balancer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

const (
	askEvery   = time.Second
	askTimeout = 2 * time.Second
)

// prober asks servers for their health.
type prober struct {
	caFile string

	mu   sync.Mutex
	ca   []byte
	http *http.Client
}

func newProber(caFile string) *prober { return &prober{caFile: caFile, http: newHTTPClient(nil)} }

// ask says why the server at address is not ready, or nothing.
func (p *prober) ask(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := p.client().Do(req)
	if err != nil {
		return cause(err)
	}
	defer resp.Body.Close()
	checks, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // also so that the connection can be used again
	if resp.StatusCode != http.StatusOK {
		return &unready{
			status:   resp.Status,
			informed: bytes.Contains(checks, []byte("[+]informer-sync ok\n")),
			mute:     resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden,
		}
	}
	return nil
}

// unready is what a server says that is not ready. It lists its checks then, a line each (k8s.io/apiserver/pkg/server/healthz).
type unready struct {
	status   string
	informed bool // it knows the rules by which it allows requests, and does not forbid all of them
	mute     bool // it tells strangers nothing: not yet, as it forbids everything, or never
}

func (u *unready) Error() string { return "/readyz says " + u.status }

// Ask says why the API server at host:port, whose certificate the authority in caFile has signed, is not ready, or nothing.
// It takes two seconds at most.
func Ask(ctx context.Context, address, caFile string) error {
	p := newProber(caFile)
	defer p.close()
	return p.ask(ctx, address)
}

// client gives one that trusts what is in the file now.
func (p *prober) client() *http.Client {
	ca, err := os.ReadFile(p.caFile)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && !bytes.Equal(ca, p.ca) {
		p.http.CloseIdleConnections()
		p.ca, p.http = ca, newHTTPClient(ca)
	}
	return p.http
}

func (p *prober) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.http.CloseIdleConnections()
}

// newHTTPClient verifies only if there is something to verify with: the question carries no secret, and clients
// verify the server themselves. It speaks HTTP/1.1, in which a connection that timed out is not used again.
func newHTTPClient(ca []byte) *http.Client {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	roots := x509.NewCertPool()
	if roots.AppendCertsFromPEM(ca) {
		config.RootCAs = roots
	} else {
		config.InsecureSkipVerify = true
	}
	return &http.Client{
		Transport: &http.Transport{
			// Less than the whole question may take, so that one who does not even accept connections is told from one who does not answer.
			DialContext:     (&net.Dialer{Timeout: askTimeout / 2}).DialContext,
			TLSClientConfig: config, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// cause leaves out the URL: whoever reads it knows the server already.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
