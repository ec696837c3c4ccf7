package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Identity is what a client proves who it is with, and knows the members by, in PEM.
type Identity struct{ CA, Cert, Key []byte }

// OpenAs makes a client of the members at these URLs. Nobody is asked yet.
func OpenAs(ctx context.Context, urls []string, id Identity) (*Client, error) {
	pair, err := tls.X509KeyPair(id.Cert, id.Key)
	if err != nil {
		return nil, fmt.Errorf("use the certificate for etcd: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(id.CA) {
		return nil, errors.New("use etcd's authority: there is no certificate in it")
	}
	return open(ctx, urls, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair}})
}

// Endpoint is what answers at one URL.
type Endpoint struct {
	URL    string
	Status *clientv3.StatusResponse
	Err    error // why it does not answer; then there is no status
}

// Look asks all URLs of the client at the same time, each for itself.
func (c *Client) Look(ctx context.Context) []Endpoint {
	urls := c.c.Endpoints()
	out := make([]Endpoint, len(urls))
	var asked sync.WaitGroup
	for i, u := range urls {
		asked.Go(func() {
			out[i].URL = u
			if out[i].Err = c.reach(ctx, u); out[i].Err == nil {
				out[i].Status, out[i].Err = c.c.Status(ctx, u)
			}
		})
	}
	asked.Wait()
	return out
}

// reach finds out whether a connection can be made, and if not, why: etcd's client tries again until the time is over, and
// then says that it is. What is answered does not matter, as a member may have gRPC only there.
func (c *Client) reach(ctx context.Context, url string) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.tls.Clone(), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/version", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err == nil {
		return resp.Body.Close()
	}
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &network):
		return network
	}
	return ctx.Err()
}

// First gives a key that begins so, or nothing where there is none. That is answered by a majority of the members only.
func (c *Client) First(ctx context.Context, prefix string) (string, error) {
	r, err := c.c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	if err != nil || len(r.Kvs) == 0 {
		return "", err
	}
	return string(r.Kvs[0].Key), nil
}
