package discovery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"slipway.dev/slipway/internal/fault"
)

const (
	perRequest = 5 * time.Second
	maxAnswer  = 4 << 20 // a ConfigMap has at most 1 MiB, and JSON makes some characters longer
	maxSkew    = 5 * time.Minute
)

// endpoint is an address that is said to be a Kubernetes API.
type endpoint struct{ base *url.URL }

func parseEndpoint(text string) (endpoint, error) {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		err = checkHostPort(host, port)
	}
	if err != nil {
		return endpoint{}, fault.New("option-invalid", fmt.Sprintf("use %q as the endpoint of the cluster", text), err,
			"give the host and the port of the API, as in 192.0.2.7:6443")
	}
	return endpoint{&url.URL{Scheme: "https", Host: text}}, nil
}

func checkHostPort(host, port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is not a port", port)
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if problems := validation.IsDNS1123Subdomain(strings.ToLower(host)); len(problems) > 0 {
		return fmt.Errorf("%q is neither an address nor a host name", host)
	}
	return nil
}

// acceptingAny believes no certificate and refuses none: what is read so is signed with the token, and read again.
func acceptingAny() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
}

func verifying(anchors []*x509.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	for _, cert := range anchors {
		pool.AddCert(cert)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// clusterInfo asks once.
func (e endpoint) clusterInfo(ctx context.Context, trust *tls.Config) (clusterInfo, error) {
	a, err := e.ask(ctx, trust)
	if err != nil {
		return clusterInfo{}, err
	}
	return e.read(a)
}

func (e endpoint) read(a answer) (clusterInfo, error) {
	o, err := e.object(a)
	if err != nil {
		return clusterInfo{}, err
	}
	if o.Kind != "ConfigMap" { // can heal: cluster-info and the right to read it come late in the making of a cluster
		return clusterInfo{}, healableError{unusable(fmt.Errorf("the API answers %q: %.300q", a.status, o.Message))}
	}
	return clusterInfo{kubeconfig: o.Data[bootstrapapi.KubeConfigKey], data: o.Data, skew: a.skew()}, nil
}

// object is what the API answers with: a ConfigMap, or a Status that says why there is none.
type object struct {
	metav1.TypeMeta
	Message string            `json:"message"`
	Data    map[string]string `json:"data"`
}

func (e endpoint) object(a answer) (object, error) {
	var o object
	err := json.Unmarshal(a.body, &o)
	isConfigMap := o.Kind == "ConfigMap" && a.code == http.StatusOK
	isStatus := o.Kind == "Status" && a.code != http.StatusOK
	switch {
	case a.code >= http.StatusInternalServerError:
		return object{}, e.unreachable(fmt.Errorf("it answers %q", a.status))
	case err == nil && o.APIVersion == "v1" && (isConfigMap || isStatus):
		return o, nil
	default:
		return object{}, e.notKubernetes(fmt.Errorf("it answers %q and not as the Kubernetes API does", a.status))
	}
}

type answer struct {
	status string
	code   int
	body   []byte
	clock  time.Time // the server's; zero if it does not tell
}

func (a answer) skew() time.Duration {
	if a.clock.IsZero() {
		return 0
	}
	return time.Since(a.clock)
}

// ask gives what the endpoint answers, whatever that is, or the fault that says why there is no answer.
func (e endpoint) ask(ctx context.Context, trust *tls.Config) (answer, error) {
	a, err := e.fetch(ctx, trust)
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case err == nil:
		return a, nil
	case errors.As(err, &verification):
		return answer{}, e.untrusted(ctx, verification)
	case errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch):
		return answer{}, e.notKubernetes(err)
	default:
		return answer{}, e.unreachable(err)
	}
}

func (e endpoint) fetch(ctx context.Context, trust *tls.Config) (answer, error) {
	client := &http.Client{
		Timeout: perRequest,
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			TLSClientConfig:   trust,
			DisableKeepAlives: true, // each attempt may meet another server behind a load balancer
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	target := e.base.JoinPath("api/v1/namespaces", metav1.NamespacePublic, "configmaps", bootstrapapi.ConfigMapClusterInfo)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "slipway")
	resp, err := client.Do(req)
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL, which the fault names
	}
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, err
	}
	clock, _ := http.ParseTime(resp.Header.Get("Date")) // zero if there is none
	return answer{status: resp.Status, code: resp.StatusCode, body: body, clock: clock}, nil
}

func (e endpoint) unreachable(err error) error {
	return healableError{fault.New("endpoint-unreachable", fmt.Sprintf("ask the cluster's API at %q", e.base.Host), err,
		"look whether that is the right address and port, whether the API server runs, and whether a firewall is in between")}
}

func (e endpoint) notKubernetes(err error) error {
	return fault.New("endpoint-not-kubernetes", fmt.Sprintf("ask the cluster's API at %q", e.base.Host), err,
		"give the address and port of the Kubernetes API server; its port is usually 6443")
}

// untrusted tells a wrong clock from a wrong certificate. The clock that it asks for is not proven: it is only advice.
func (e endpoint) untrusted(ctx context.Context, err error) error {
	op := fmt.Sprintf("trust the cluster's API at %q", e.base.Host)
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		a, askErr := e.fetch(ctx, acceptingAny())
		if skew := a.skew(); askErr == nil && skew.Abs() > maxSkew {
			return fault.New("clock-skew", op,
				fmt.Errorf("%w; the clock of this host says %s, that of the API server %s",
					err, a.clock.Add(skew).UTC().Format(time.RFC3339), a.clock.UTC().Format(time.RFC3339)),
				"set the clock that is wrong, and let NTP keep it")
		}
	}
	return fault.New("endpoint-untrusted", op, err,
		"use an address that the API server's certificate names; if this is one, somebody may be between this host and the cluster")
}
