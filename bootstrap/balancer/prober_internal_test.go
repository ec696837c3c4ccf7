package balancer

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestInformed: what a server that is not ready says of its rules. One that tells strangers nothing may not know them yet.
func TestInformed(t *testing.T) {
	for body, want := range map[string]bool{
		"500 [+]ping ok\n[+]informer-sync ok\nreadyz check failed\n":                      true,
		"500 [+]ping ok\n[-]informer-sync failed: reason withheld\nreadyz check failed\n": false,
		"500 ": false,
		"401 ": false,
		"403 ": false,
	} {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			status, text, _ := strings.Cut(body, " ")
			w.WriteHeader(map[string]int{"401": http.StatusUnauthorized, "403": http.StatusForbidden, "500": http.StatusInternalServerError}[status])
			_, _ = io.WriteString(w, text)
		}))
		var u *unready
		err := Ask(t.Context(), s.Listener.Addr().String(), "")
		if !errors.As(err, &u) || u.informed != want || u.mute == strings.HasPrefix(body, "5") {
			t.Errorf("%q: %+v, %v; want %v", body, u, err, want)
		}
		s.Close()
	}
}
