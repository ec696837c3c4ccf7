package discovery

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/jws"

	"slipway.dev/slipway/internal/fault"
)

// clusterInfo is what the ConfigMap of that name says, believed or not.
type clusterInfo struct {
	kubeconfig string
	data       map[string]string // of the whole ConfigMap, where the signatures are
	skew       time.Duration
}

// checkSignature holds the kubeconfig against the token. That a signature is missing can heal: the controller manager
// adds it a moment after the token was made.
func (c clusterInfo) checkSignature(t Token) error {
	if c.kubeconfig == "" {
		return unusable(errors.New("it has no kubeconfig"))
	}
	signature := c.data[bootstrapapi.JWSSignatureKeyPrefix+t.ID]
	if signature == "" {
		return healableError{fault.New("token-unknown", fmt.Sprintf("trust the cluster by the token %q", t.ID),
			errors.New("the cluster has not signed with it: it has expired, was deleted, or is one of another cluster"),
			"make a new one with `slipway token create --print-join-command` on a control plane")}
	}
	if !jws.DetachedTokenIsValid(signature, c.kubeconfig, t.ID, t.Secret()) {
		return fault.New("token-wrong", fmt.Sprintf("trust the cluster by the token %q", t.ID),
			errors.New("the signature does not match: the second half of the token is another, "+
				"or somebody is between this host and the cluster; nothing was written on this host"),
			"copy the token again, or make a new one with `slipway token create --print-join-command` on a control plane")
	}
	return nil
}

// cluster gives the one cluster of the kubeconfig, and its authorities.
func (c clusterInfo) cluster() (*Cluster, []*x509.Certificate, error) {
	config, err := clientcmd.Load([]byte(c.kubeconfig))
	if err != nil {
		return nil, nil, unusable(fmt.Errorf("read the kubeconfig in it: %w", err))
	}
	cluster, bundle, err := onlyCluster(config)
	if err != nil {
		return nil, nil, unusable(fmt.Errorf("read the kubeconfig in it: %w", err))
	}
	return cluster, bundle, nil
}

func unusable(err error) *fault.Error {
	return fault.New("cluster-info-unusable", "read cluster-info, which says how to join the cluster", err,
		"look at the ConfigMap cluster-info in the namespace kube-public: anybody must be able to read it, and it must have "+
			"a kubeconfig with one cluster")
}

// onlyCluster reads nothing from files: a kubeconfig from the network may name any.
func onlyCluster(config *api.Config) (*Cluster, []*x509.Certificate, error) {
	clusters := slices.Collect(maps.Values(config.Clusters))
	if len(clusters) != 1 {
		return nil, nil, fmt.Errorf("it has %d clusters, not one", len(clusters))
	}
	c := clusters[0]
	u, err := url.Parse(c.Server)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return nil, nil, fmt.Errorf("its server %q is not an https URL", c.Server)
	}
	bundle, err := certutil.ParseCertsPEM(c.CertificateAuthorityData)
	if err != nil {
		return nil, nil, fmt.Errorf("read its certificate authority: %w", err)
	}
	return &Cluster{Server: c.Server, CA: c.CertificateAuthorityData}, bundle, nil
}
