package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/fault"
)

type sent struct{ error }

func (s sent) RoundTrip(*http.Request) (*http.Response, error) { return nil, s }

func (s sent) Unwrap() error { return s.error }

// TestGuard: nothing goes out in the clear unless it stays on this host or the user wants that. The library takes private
// addresses for safe.
func TestGuard(t *testing.T) {
	wire := sent{errors.New("it was sent")}
	for url, harmless := range map[string]bool{
		"https://192.0.2.1/v2/": true, "https://registry.example/v2/": true,
		"http://127.0.0.1:5000/v2/": true, "http://[::1]:5000/v2/": true, "http://localhost:5000/v2/": true,
		"http://192.0.2.1/v2/": false, "http://10.0.0.1:5000/v2/": false, "http://registry.local/v2/": false, "http://localhost.example/v2/": false,
	} {
		for _, plain := range []bool{false, true} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&guard{RoundTripper: wire, plain: plain}).RoundTrip(r)
			if resp != nil {
				resp.Body.Close()
			}
			if want := harmless || plain; errors.Is(err, wire) != want {
				t.Errorf("%s, allowed %v: %v", url, plain, err)
			}
		}
	}
}

// TestFailedBothWays: to private addresses the library speaks both ways, and the second is refused here. Only the first says
// what is wrong.
func TestFailedBothWays(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for name, tt := range map[string]struct {
		https      error
		id, advice string
	}{
		"another authority": {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "registry-untrusted", "--registry-ca"},
		"down":              {&net.OpError{Op: "dial", Err: unix.ECONNREFUSED}, "registry-unreachable", "the network"},
		"without TLS":       {http.ErrSchemeMismatch, "registry-untrusted", "--registry-plain-http"},
		"no TLS after all":  {tls.RecordHeaderError{Msg: "nonsense"}, "registry-untrusted", "--registry-plain-http"},
	} {
		t.Run(name, func(t *testing.T) {
			ref, err := Parse("oci://192.168.0.1:5000/bundle:v1")
			if err != nil {
				t.Fatal(err)
			}
			r, err := newRepository(ref, Options{}, answerTime)
			if err != nil {
				t.Fatal(err)
			}
			r.base = &guard{RoundTripper: sent{tt.https}}
			_, err = r.client(t.Context())
			if !errors.Is(err, errPlain) {
				t.Errorf("it was not tried both ways: %v", err)
			}
			f := fault.All(r.failed("test", err))
			if len(f) != 1 || f[0].ID != tt.id || !strings.Contains(f[0].Next, tt.advice) {
				t.Errorf("got %+v", f)
			}
		})
	}
}
