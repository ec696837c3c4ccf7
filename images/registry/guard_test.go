package registry

import (
	"errors"
	"net/http"
	"testing"
)

type sent struct{ error }

func (s sent) RoundTrip(*http.Request) (*http.Response, error) { return nil, s }

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
