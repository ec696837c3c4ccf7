package cmd

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/engine"
)

// syncBuffer may be written to and read at the same time.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestPlainLines(t *testing.T) {
	var out syncBuffer
	report, finish := plainLines(&out, 10*time.Millisecond)
	old := time.Now().Add(-time.Minute)
	report(engine.Event{Host: "n1", Step: "kernel", State: engine.Started, Start: old})
	report(engine.Event{Host: "n1", Step: "kernel", State: engine.Done, Seconds: 2})
	report(engine.Event{Host: "n1", Step: "files", State: engine.Started, Start: old})
	report(engine.Event{Host: "n1", Step: "files", State: engine.Unchanged})
	report(engine.Event{Host: "n2", Step: "node-ready", State: engine.Waiting, Start: old, Message: "no network"})
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "still"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what is waited for is never said")
		}
	}
	report(engine.Event{Host: "n2", Step: "node-ready", State: engine.Failed, Seconds: 61})
	finish()
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"n1 kernel done in 2.00 s", "n2 node-ready still after 60 s: no network", "n2 node-ready failed after 61.00 s"} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q: %s", want, got)
		}
	}
	if strings.Contains(got, "files") {
		t.Errorf("what was there already is no news: %s", got)
	}
}
