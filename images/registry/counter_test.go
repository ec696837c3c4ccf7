package registry

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestCounter: the bytes of a request are counted, and it stays as it was.
func TestCounter(t *testing.T) {
	var sent atomic.Int64
	wire := sink{}
	body := io.NopCloser(strings.NewReader("twelve bytes"))
	for _, r := range []*http.Request{{Method: http.MethodPut, Body: body}, {Method: http.MethodGet}, {Method: http.MethodGet, Body: http.NoBody}} {
		was := r.Body
		resp, err := (&counter{wire, func(n int64) { sent.Add(n) }}).RoundTrip(r)
		if resp != nil {
			resp.Body.Close()
		}
		if !errors.Is(err, errSunk) || r.Body != was {
			t.Errorf("%v, the body became %v", err, r.Body)
		}
	}
	if sent.Load() != 12 {
		t.Errorf("counted %d bytes", sent.Load())
	}
}

var errSunk = errors.New("it was sent")

// sink reads what it is sent.
type sink struct{}

func (sink) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return nil, errSunk
}

// TestMeterStops: a report that has begun has ended when stop returns.
func TestMeterStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reporting atomic.Bool
		m := newMeter("%d of %d MiB", 2<<20, func(text string) {
			if text != "1 of 2 MiB" {
				t.Errorf("said %q", text)
			}
			reporting.Store(true)
			time.Sleep(time.Second) // in the test's own time
			reporting.Store(false)
		})
		m.add(1 << 20)
		time.Sleep(1500 * time.Millisecond)
		if !reporting.Load() {
			t.Error("it says nothing")
		}
		if m.stop(); reporting.Load() {
			t.Error("it still says something")
		}
	})
}
