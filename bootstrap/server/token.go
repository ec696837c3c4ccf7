package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

// AdminKubeconfig is the administrator's kubeconfig on a control plane.
const AdminKubeconfig = "/etc/kubernetes/admin.conf"

// requestTime is how long one request to the API may take.
const requestTime = 15 * time.Second

// Open gives a client with the first credentials that the kubeconfigs have, merged as kubectl does. The fault is
// kubeconfig-unreadable.
func Open(kubeconfigs ...string) (kubernetes.Interface, error) {
	bad := func(err error) error {
		return fault.New("kubeconfig-unreadable", fmt.Sprintf("read kubeconfig %q", strings.Join(kubeconfigs, string(os.PathListSeparator))),
			err, "run it as root on a control plane, or name an administrator's kubeconfig with --kubeconfig")
	}
	if !slices.ContainsFunc(kubeconfigs, func(path string) bool { _, err := os.Stat(path); return !errors.Is(err, os.ErrNotExist) }) {
		return nil, bad(errors.New("it is not there"))
	}
	merged, err := (&clientcmd.ClientConfigLoadingRules{Precedence: kubeconfigs}).Load()
	if err != nil {
		return nil, bad(err)
	}
	cfg, err := clientcmd.NewDefaultClientConfig(*merged, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, bad(err)
	}
	cfg.UserAgent, cfg.Timeout = "slipway", requestTime
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, bad(err)
	}
	return c, nil
}

// asked makes a fault of what went wrong with the API: api-unreachable or api-refused.
func asked(err error) error {
	const op = "ask the cluster"
	var connection *url.Error
	switch {
	case err == nil, len(fault.All(err)) > 0:
		return err
	case apierrors.IsUnauthorized(err), apierrors.IsForbidden(err):
		return fault.New("api-refused", op, err,
			"use an administrator's kubeconfig that is still good: see `slipway certs check` on a control plane")
	case errors.As(err, &connection):
		return fault.New("api-unreachable", op, err, "look at the API server's log, and whether --kubeconfig is of this cluster")
	}
	return err
}

// TokenOptions say what token to make, and what to say of it.
type TokenOptions struct {
	Token          string // empty: a random one
	TTL            time.Duration
	Description    string
	JoinCommand    bool
	CertificateKey string // of certificates that were uploaded before: the join command is a control plane's
	UploadCerts    bool   // upload them now; the same
}

// IssuedToken is what to tell whoever is to join.
type IssuedToken struct {
	Token          string    `json:"token"`
	Expires        time.Time `json:"expires,omitzero"` // zero: never
	CertificateKey string    `json:"certificateKey,omitempty"`
	JoinCommand    string    `json:"joinCommand,omitempty"`
}

func (o TokenOptions) read() (discovery.Token, invite.Key, error) {
	var errs [3]error
	var t discovery.Token
	var key invite.Key
	if o.TTL < 0 {
		errs[0] = fault.New("option-invalid", fmt.Sprintf("use --ttl %v", o.TTL), errors.New("it is negative"),
			"use 0 for a token that never expires")
	}
	if o.Token == "" {
		t, errs[1] = discovery.NewToken()
	} else {
		t, errs[1] = discovery.ParseToken(o.Token)
	}
	if o.CertificateKey != "" || o.UploadCerts {
		key, errs[2] = keyOf(o.CertificateKey)
	}
	return t, key, errors.Join(errs[:]...)
}

// CreateToken lets hosts join with a token. It is made last, when all else that was asked for is there.
func CreateToken(ctx context.Context, c kubernetes.Interface, o TokenOptions) (*IssuedToken, error) {
	t, key, err := o.read()
	if err != nil {
		return nil, err
	}
	out := &IssuedToken{Token: t.Reveal()}
	if o.JoinCommand || !key.IsZero() {
		if out.JoinCommand, err = joinCommand(ctx, c, t, key); err != nil {
			return nil, asked(err)
		}
	}
	if !key.IsZero() {
		out.CertificateKey = key.Reveal()
	}
	if o.UploadCerts {
		if err := uploadCertificates(ctx, c, key, certs.Host("/")); err != nil {
			return nil, err
		}
	}
	if o.TTL > 0 {
		out.Expires = time.Now().Add(o.TTL).UTC().Truncate(time.Second)
	}
	if err := invite.CreateToken(ctx, c, t, o.TTL, o.Description); err != nil {
		return nil, asked(err)
	}
	return out, nil
}

// joinCommand has the cluster's own name for itself, which may be another than that by which the administrator reaches it.
func joinCommand(ctx context.Context, c kubernetes.Interface, t discovery.Token, key invite.Key) (string, error) {
	m, err := c.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, bootstrapapi.ConfigMapClusterInfo, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("read cluster-info: %w", err)
	}
	unusable := func(err error) error {
		return fault.New("cluster-info-unusable", "read cluster-info, which says how to join the cluster", err,
			"look at the ConfigMap cluster-info in the namespace kube-public")
	}
	if err != nil {
		return "", unusable(err)
	}
	config, err := clientcmd.Load([]byte(m.Data[bootstrapapi.KubeConfigKey]))
	if err != nil {
		return "", unusable(err)
	}
	clusters := slices.Collect(maps.Values(config.Clusters))
	if len(clusters) != 1 {
		return "", unusable(fmt.Errorf("its kubeconfig has %d clusters, not one", len(clusters)))
	}
	server, err := url.Parse(clusters[0].Server)
	if err != nil || server.Host == "" {
		return "", unusable(fmt.Errorf("its server %q is not a URL", clusters[0].Server))
	}
	command, err := invite.JoinCommand(server.Host, t, clusters[0].CertificateAuthorityData, key)
	if err != nil {
		return "", unusable(err)
	}
	return command, nil
}

// Tokens lists the tokens that the cluster knows, the first to expire first.
func Tokens(ctx context.Context, c kubernetes.Interface) ([]invite.TokenInfo, error) {
	list, err := invite.Tokens(ctx, c)
	return list, asked(err)
}

// DeleteTokens makes the cluster forget tokens, each given whole or by its ID. It tries all, and gives the IDs of those
// that are gone.
func DeleteTokens(ctx context.Context, c kubernetes.Interface, tokens []string) (gone []string, err error) {
	var errs []error
	for _, t := range tokens {
		if err := invite.DeleteToken(ctx, c, t); err != nil {
			errs = append(errs, asked(err))
			continue
		}
		id, _, _ := strings.Cut(t, ".")
		gone = append(gone, id)
	}
	return gone, errors.Join(errs...)
}
