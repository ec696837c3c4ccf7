package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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
	URL     string
	Err     error  // why it does not answer
	Cluster uint64 // of members that belong together
	Version string
	Leader  uint64   // 0: it knows none
	Alarms  []string // what it says is wrong
}

// Look asks all URLs of the client at the same time, each for itself.
func (c *Client) Look(ctx context.Context) []Endpoint {
	urls := c.c.Endpoints()
	out := make([]Endpoint, len(urls))
	var asked sync.WaitGroup
	for i, u := range urls {
		asked.Go(func() { out[i] = c.look(ctx, u) })
	}
	asked.Wait()
	return out
}

func (c *Client) look(ctx context.Context, url string) Endpoint {
	s, err := c.c.Status(ctx, url)
	if err != nil {
		return Endpoint{URL: url, Err: err}
	}
	return Endpoint{URL: url, Cluster: s.Header.ClusterId, Version: s.Version, Leader: s.Leader, Alarms: s.Errors}
}

// First gives a key that begins so, or nothing where there is none. That is answered by a majority of the members only.
func (c *Client) First(ctx context.Context, prefix string) (string, error) {
	r, err := c.c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	if err != nil || len(r.Kvs) == 0 {
		return "", err
	}
	return string(r.Kvs[0].Key), nil
}
