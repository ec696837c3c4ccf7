package discovery

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"slipway.dev/slipway/internal/fault"
)

// Options say which cluster to join, and what proves that it is that one.
type Options struct {
	Endpoint string // of the API, host:port
	Token    Token
	CAHashes []CAHash // the authority must match one of them

	// UnsafeSkipCAVerification allows for no CAHashes. Whoever has the token can then pretend to be the cluster.
	UnsafeSkipCAVerification bool

	Progress func(string) // told what is waited for, whenever that changes; may be nil
}

// Cluster is one that this host has reason to trust.
type Cluster struct {
	Server    string        // URL of the API, as the cluster itself names it
	CA        []byte        // its certificate authorities, PEM
	ClockSkew time.Duration // this host's clock minus the API server's, to about a second; 0 if that is not known
}

// Discover asks the endpoint for its cluster, and gives it once everything about it is proven. What can heal is waited
// for until ctx ends: a server that does not answer yet, a token that it has not signed with yet.
func Discover(ctx context.Context, o Options) (*Cluster, error) {
	e, err := o.check()
	if err != nil {
		return nil, err
	}
	claimed, err := poll(ctx, o.Progress, func(ctx context.Context) (clusterInfo, error) {
		info, err := e.clusterInfo(ctx, acceptingAny())
		if err != nil {
			return clusterInfo{}, err
		}
		return info, info.checkSignature(o.Token)
	})
	if err != nil {
		return nil, err
	}
	cluster, bundle, err := claimed.cluster()
	if err != nil {
		return nil, err
	}
	anchors, err := o.anchors(bundle)
	if err != nil {
		return nil, err
	}
	proven, err := poll(ctx, o.Progress, func(ctx context.Context) (clusterInfo, error) {
		return e.clusterInfo(ctx, verifying(anchors))
	})
	if err != nil {
		return nil, err
	}
	if proven.kubeconfig != claimed.kubeconfig {
		return nil, fault.New("cluster-info-unusable", fmt.Sprintf("trust the cluster at %q", o.Endpoint),
			errors.New("cluster-info over verified TLS is another than the one before: it was changed in between, or somebody is in between"),
			"run the same command again; nothing was written on this host")
	}
	cluster.ClockSkew = proven.skew
	return cluster, nil
}

// check finds what is wrong before anything is asked.
func (o Options) check() (endpoint, error) {
	e, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return endpoint{}, err
	}
	if _, err := ParseToken(o.Token.Reveal()); err != nil {
		return endpoint{}, err
	}
	if len(o.CAHashes) == 0 && !o.UnsafeSkipCAVerification {
		return endpoint{}, fault.New("ca-hash-missing", fmt.Sprintf("trust the cluster at %q", o.Endpoint),
			errors.New("no hash of its certificate authority was given, and the token alone does not prove that it is the right cluster"),
			"use the whole command that `slipway token create --print-join-command` prints on a control plane")
	}
	return e, nil
}

// anchors are the authorities that may vouch for the endpoint.
func (o Options) anchors(bundle []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(o.CAHashes) == 0 {
		return bundle, nil
	}
	if pinned := matching(bundle, o.CAHashes); len(pinned) > 0 {
		return pinned, nil
	}
	has := make([]string, len(bundle))
	for i, cert := range bundle {
		has[i] = HashOf(cert).String()
	}
	return nil, fault.New("ca-hash-mismatch", fmt.Sprintf("trust the cluster at %q", o.Endpoint),
		fmt.Errorf("its certificate authority has the hash %s, which is none of those given; nothing was written on this host",
			strings.Join(has, ", ")),
		"compare with what `slipway token create --print-join-command` prints on a control plane; "+
			"if that is the hash you gave, somebody is between this host and the cluster")
}
