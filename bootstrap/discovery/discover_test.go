package discovery_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd/api"

	"slipway.dev/slipway/bootstrap/discovery"
)

// options pins the authority at the endpoint.
func options(t *testing.T, endpoint string, ca authority) discovery.Options {
	t.Helper()
	return discovery.Options{Endpoint: endpoint, Token: token(t), CAHashes: ca.hash()}
}

func wantCluster(t *testing.T, got *discovery.Cluster, err error, ca []byte) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if got.Server != server || !bytes.Equal(got.CA, ca) {
		t.Errorf("cluster is %q with authority\n%s", got.Server, got.CA)
	}
}

func TestDiscover(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.valid(t)
	s := serve(t, &cert, signed(t, kubeconfig(t, server, bundle(ca)), token(t).Reveal()))
	got, err := discovery.Discover(patience(t), options(t, s.endpoint(), ca))
	wantCluster(t, got, err, bundle(ca))
	if got.ClockSkew.Abs() > time.Minute {
		t.Errorf("clock skew is %s", got.ClockSkew)
	}
	if n := s.requests.Load(); n != 2 {
		t.Errorf("%d requests, want one before the authority is known and one verified by it", n)
	}
}

// TestDiscoverManyAuthorities is a cluster in the middle of a change of its authority.
func TestDiscoverManyAuthorities(t *testing.T) {
	old, ca := newAuthority(t), newAuthority(t)
	cert, both := ca.valid(t), bundle(old, ca)
	s := serve(t, &cert, signed(t, kubeconfig(t, server, both), token(t).Reveal()))
	got, err := discovery.Discover(patience(t), options(t, s.endpoint(), ca))
	wantCluster(t, got, err, both)

	o := options(t, s.endpoint(), ca)
	o.CAHashes = append(newAuthority(t).hash(), o.CAHashes...) // one of the pins is enough
	got, err = discovery.Discover(patience(t), o)
	wantCluster(t, got, err, both)
}

func TestDiscoverWithoutHash(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.valid(t)
	s := serve(t, &cert, signed(t, kubeconfig(t, server, bundle(ca)), token(t).Reveal()))
	o := options(t, s.endpoint(), ca)
	o.CAHashes = nil
	_, err := discovery.Discover(patience(t), o)
	wantFault(t, err, "ca-hash-missing")
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
	o.UnsafeSkipCAVerification = true
	got, err := discovery.Discover(patience(t), o)
	wantCluster(t, got, err, bundle(ca))

	o.CAHashes = newAuthority(t).hash() // a hash that is given is checked all the same
	_, err = discovery.Discover(patience(t), o)
	wantFault(t, err, "ca-hash-mismatch")
}

func TestDiscoverOptions(t *testing.T) {
	ca := newAuthority(t)
	for _, endpoint := range []string{
		"", "127.0.0.1", "127.0.0.1:", ":6443", "127.0.0.1:0", "127.0.0.1:65536", "https://127.0.0.1:6443", "::1:6443", "a/b:6443", "user@a:6443", "a b:1",
	} {
		_, err := discovery.Discover(patience(t), options(t, endpoint, ca))
		wantFault(t, err, "option-invalid")
	}
	o := options(t, "127.0.0.1:6443", ca)
	o.Token = discovery.Token{}
	_, err := discovery.Discover(patience(t), o)
	wantFault(t, err, "token-invalid")
}

// TestDiscoverRefuses is all that ends at once, and how many requests that takes.
func TestDiscoverRefuses(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cert, otherCert, otherAddress := ca.valid(t), other.valid(t), ca.serving(t, "192.0.2.7", -time.Hour, time.Hour)
	text := token(t).Reveal()
	ours := kubeconfig(t, server, bundle(ca))
	signedOurs := signed(t, ours, text)
	two := writeConfig(t, api.Config{Clusters: map[string]*api.Cluster{
		"a": {Server: server, CertificateAuthorityData: bundle(ca)}, "b": {Server: server, CertificateAuthorityData: bundle(ca)},
	}})
	for name, c := range map[string]struct {
		cert     *tls.Certificate
		handler  http.HandlerFunc
		fault    string
		says     string
		requests int32
	}{
		"another secret":       {&cert, signed(t, ours, "abcdef.fedcba9876543210"), "token-wrong", "", 1},
		"signature of another": {&cert, tampered(t, ours, kubeconfig(t, server, bundle(other)), text), "token-wrong", "", 1},
		"not a signature":      {&cert, configMap(map[string]string{"kubeconfig": ours, "jws-kubeconfig-abcdef": "a..b"}), "token-wrong", "", 1},
		"another authority":    {&otherCert, signed(t, kubeconfig(t, server, bundle(other)), text), "ca-hash-mismatch", other.hash()[0].String(), 1},
		"plain HTTP":           {nil, signedOurs, "endpoint-not-kubernetes", "", 0},
		"HTML":                 {&cert, html(http.StatusOK), "endpoint-not-kubernetes", "200 OK", 1},
		"HTML, not found":      {&cert, html(http.StatusNotFound), "endpoint-not-kubernetes", "404 Not Found", 1},
		"other JSON":           {&cert, reply(http.StatusOK, map[string]string{"kind": "ConfigMap"}), "endpoint-not-kubernetes", "", 1},
		"ConfigMap, not found": {&cert, reply(http.StatusNotFound, corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}}), "endpoint-not-kubernetes", "404", 1},
		"a Status that is OK":  {&cert, status(http.StatusOK), "endpoint-not-kubernetes", "", 1},
		"no kubeconfig":        {&cert, configMap(nil), "cluster-info-unusable", "no kubeconfig", 1},
		"not a kubeconfig":     {&cert, signed(t, "[", text), "cluster-info-unusable", "", 1},
		"no cluster":           {&cert, signed(t, writeConfig(t, api.Config{}), text), "cluster-info-unusable", "0 clusters", 1},
		"two clusters":         {&cert, signed(t, two, text), "cluster-info-unusable", "2 clusters", 1},
		"no authority":         {&cert, signed(t, kubeconfig(t, server, nil), text), "cluster-info-unusable", "authority", 1},
		"authority in a file":  {&cert, signed(t, authorityFile(t), text), "cluster-info-unusable", "authority", 1},
		"plain server":         {&cert, signed(t, kubeconfig(t, "http://127.0.0.1:1", bundle(ca)), text), "cluster-info-unusable", "https", 1},
		"other address":        {&otherAddress, signedOurs, "endpoint-untrusted", "192.0.2.7", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.cert, c.handler)
			_, err := discovery.Discover(patience(t), options(t, s.endpoint(), ca))
			wantFault(t, err, c.fault, c.says)
			if n := s.requests.Load(); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
		})
	}
}

// tampered serves a kubeconfig with the signature of another.
func tampered(t *testing.T, was, is, tokenText string) http.HandlerFunc {
	t.Helper()
	rec := httptest.NewRecorder()
	signed(t, was, tokenText)(rec, nil)
	return configMap(map[string]string{"kubeconfig": is, "jws-kubeconfig-abcdef": dataOf(t, rec)["jws-kubeconfig-abcdef"]})
}

// authorityFile names a file of the host instead of an authority: it must not be read.
func authorityFile(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/ca.crt"
	writeFile(t, path, bundle(newAuthority(t)))
	return writeConfig(t, api.Config{Clusters: map[string]*api.Cluster{"": {Server: server, CertificateAuthority: path}}})
}

// TestManInTheMiddle is somebody between the host and the cluster, who sees all that the cluster says to strangers.
func TestManInTheMiddle(t *testing.T) {
	ca, own := newAuthority(t), newAuthority(t)
	cert, ownCert := ca.valid(t), own.valid(t)
	text := token(t).Reveal()
	passed := signed(t, kubeconfig(t, server, bundle(ca)), text)
	both := signed(t, kubeconfig(t, server, bundle(ca, own)), text)
	for name, c := range map[string]struct {
		cert    *tls.Certificate
		handler http.HandlerFunc
		fault   string
	}{
		"passes cluster-info on":                       {&ownCert, passed, "endpoint-untrusted"},
		"has the token":                                {&ownCert, signed(t, kubeconfig(t, server, bundle(own)), text), "ca-hash-mismatch"},
		"has the token, adds an authority":             {&ownCert, both, "endpoint-untrusted"},
		"has the token, adds one, then gets out of it": {&cert, inTurn(both, passed), "cluster-info-unusable"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.cert, c.handler)
			_, err := discovery.Discover(patience(t), options(t, s.endpoint(), ca))
			wantFault(t, err, c.fault)
		})
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.valid(t)
	behind := serve(t, &cert, signed(t, kubeconfig(t, server, bundle(ca)), token(t).Reveal()))
	s := serve(t, &cert, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, behind.URL+clusterInfo, http.StatusFound)
	})
	_, err := discovery.Discover(patience(t), options(t, s.endpoint(), ca))
	wantFault(t, err, "endpoint-not-kubernetes", "302 Found")
	if n := behind.requests.Load(); n != 0 {
		t.Errorf("%d requests where the redirect points to", n)
	}
}

func at(clock time.Time, handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", clock.UTC().Format(http.TimeFormat))
		handler(w, r)
	}
}

func TestClocks(t *testing.T) {
	ca := newAuthority(t)
	info := signed(t, kubeconfig(t, server, bundle(ca)), token(t).Reveal())
	later, earlier := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		from, to time.Duration // of the certificate
		server   time.Time
		fault    string
		says     string
	}{
		"not valid yet, server ahead":      {30 * time.Minute, 2 * time.Hour, later, "clock-skew", later.UTC().Format(time.RFC3339)},
		"expired, server behind":           {-2 * time.Hour, -30 * time.Minute, earlier, "clock-skew", earlier.UTC().Format(time.RFC3339)},
		"expired, clocks agree":            {-2 * time.Hour, -30 * time.Minute, time.Now(), "endpoint-untrusted", "expired"},
		"not valid yet, clocks agree":      {30 * time.Minute, 2 * time.Hour, time.Now(), "endpoint-untrusted", "not yet valid"},
		"expired, clocks 4 minutes apart":  {-2 * time.Hour, -30 * time.Minute, time.Now().Add(4 * time.Minute), "endpoint-untrusted", "expired"},
		"expired, server tells no time":    {-2 * time.Hour, -30 * time.Minute, time.Time{}, "endpoint-untrusted", "expired"},
		"valid, though the server is late": {-2 * time.Hour, 2 * time.Hour, earlier, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cert := ca.serving(t, "127.0.0.1", c.from, c.to)
			handler := at(c.server, info)
			if c.server.IsZero() {
				handler = func(w http.ResponseWriter, r *http.Request) { w.Header()["Date"] = nil; info(w, r) }
			}
			got, err := discovery.Discover(patience(t), options(t, serve(t, &cert, handler).endpoint(), ca))
			if c.fault != "" {
				wantFault(t, err, c.fault, c.says)
				return
			}
			wantCluster(t, got, err, bundle(ca))
			if got.ClockSkew < time.Hour || got.ClockSkew > 2*time.Hour {
				t.Errorf("clock skew is %s, want ours minus theirs: an hour", got.ClockSkew)
			}
		})
	}
}

// TestDiscoverWaits is all that heals, on the first reading and on the second.
func TestDiscoverWaits(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.valid(t)
	text, ours := token(t).Reveal(), kubeconfig(t, server, bundle(ca))
	good := signed(t, ours, text)
	unsigned := signed(t, ours, "ghijkl.fedcba9876543210")
	for name, handler := range map[string]http.HandlerFunc{
		"for the signature":            inTurn(unsigned, unsigned, good),
		"for the API server":           inTurn(status(http.StatusServiceUnavailable), html(http.StatusBadGateway), good),
		"for cluster-info":             inTurn(status(http.StatusNotFound), status(http.StatusForbidden), good),
		"for a whole answer":           inTurn(cutOff, good),
		"for the second reading":       inTurn(good, html(http.StatusServiceUnavailable), good),
		"for the second reading's end": inTurn(good, cutOff, good),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, &cert, handler)
			got, err := discovery.Discover(patience(t), options(t, s.endpoint(), ca))
			wantCluster(t, got, err, bundle(ca))
		})
	}
}

// TestProgress wants each thing that is waited for once, in turn.
func TestProgress(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.valid(t)
	text, ours := token(t).Reveal(), kubeconfig(t, server, bundle(ca))
	unready, unsigned := status(http.StatusServiceUnavailable), signed(t, ours, "ghijkl.fedcba9876543210")
	s := serve(t, &cert, inTurn(unready, unready, unsigned, unsigned, signed(t, ours, text)))
	o := options(t, s.endpoint(), ca)
	var told []string
	o.Progress = func(text string) { told = append(told, text) }
	got, err := discovery.Discover(patience(t), o)
	wantCluster(t, got, err, bundle(ca))
	if len(told) != 2 || !strings.Contains(told[0], "503") || !strings.Contains(told[1], "has not signed") {
		t.Errorf("told %q", told)
	}
}

// cutOff ends the connection in the middle of the answer.
func cutOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = w.Write([]byte("{"))
	panic(http.ErrAbortHandler)
}

// TestDiscoverWaitsForTheServer starts the server once Discover has told that nothing listens.
func TestDiscoverWaitsForTheServer(t *testing.T) {
	ca := newAuthority(t)
	s := newCluster(t, signed(t, kubeconfig(t, server, bundle(ca)), token(t).Reveal()))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.valid(t)}}
	endpoint := s.endpoint()
	s.Listener.Close()
	t.Cleanup(func() { s.Close() })
	o := options(t, endpoint, ca)
	told := 0
	o.Progress = func(text string) {
		if told++; told > 1 {
			return
		}
		if !strings.Contains(text, "refused") {
			t.Errorf("told %q, want that the connection was refused", text)
		}
		l, err := net.Listen("tcp", endpoint)
		if err != nil {
			t.Error(err)
			return
		}
		s.Listener = l
		s.StartTLS()
	}
	got, err := discovery.Discover(patience(t), o)
	wantCluster(t, got, err, bundle(ca))
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
}

// TestDiscoverGivesUp ends the context when the cluster has been asked a few times, and wants the last error.
func TestDiscoverGivesUp(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.valid(t)
	ours := kubeconfig(t, server, bundle(ca))
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		fault   string
		says    string
	}{
		"no signature": {signed(t, ours, "ghijkl."+"fedcba9876543210"), "token-unknown", "abcdef"},
		"not ready":    {inTurn(html(http.StatusBadGateway), status(http.StatusServiceUnavailable)), "endpoint-unreachable", "503"},
		"forbidden":    {status(http.StatusForbidden), "cluster-info-unusable", "refused: Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(patience(t))
			over := errors.New("time is up")
			var s *cluster
			s = serve(t, &cert, func(w http.ResponseWriter, r *http.Request) {
				c.handler(w, r)
				if s.requests.Load() == 3 {
					cancel(over)
				}
			})
			_, err := discovery.Discover(ctx, options(t, s.endpoint(), ca))
			wantFault(t, err, c.fault, c.says, over.Error())
			if !errors.Is(err, over) {
				t.Errorf("the error does not have the cause that the context ended for: %v", err)
			}
		})
	}
}

// TestDiscoverAfterTheEnd has no attempt of which anything could be said.
func TestDiscoverAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := discovery.Discover(ctx, options(t, "127.0.0.1:1", newAuthority(t)))
	wantFault(t, err, "endpoint-unreachable")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error does not say that it was cancelled: %v", err)
	}
}
