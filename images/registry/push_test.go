package registry_test

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"slipway.dev/slipway/images/registry"
)

// late answers before it has read what it was sent, and goes on reading that: a registry may, and so may a proxy.
type late struct {
	answered chan struct{} // closed when the push has ended
	reading  sync.WaitGroup
}

func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, header http.Header) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header, Body: http.NoBody, Request: r}, nil
	}
	switch {
	case r.Method == http.MethodHead:
		return answer(http.StatusNotFound, http.Header{})
	case r.Method == http.MethodPost:
		return answer(http.StatusAccepted, http.Header{"Location": {"/upload"}})
	case r.Body != nil && r.Body != http.NoBody:
		l.reading.Go(func() {
			<-l.answered
			_, _ = io.Copy(io.Discard, r.Body)
		})
		return answer(http.StatusForbidden, http.Header{})
	}
	return answer(http.StatusOK, http.Header{})
}

// TestAnsweredEarly: what is still read of a push that has failed harms nobody.
func TestAnsweredEarly(t *testing.T) {
	b := makeBundle(t, t.TempDir(), layers{"image-a": mib, "image-b": mib})
	wire := &late{answered: make(chan struct{})}
	if err := registry.PushThrough(t.Context(), b, parse(t, "oci://registry.example/bundle:v1"), wire); err == nil {
		t.Error("what is forbidden was done")
	}
	close(wire.answered)
	wire.reading.Wait()
}
