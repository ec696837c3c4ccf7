package cmd

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/bootstrap/engine"
)

// showEvents gives what shows events while a cluster comes up, and what to call when it has: JSON lines on stdout for
// programs, a live table on a terminal, plain lines in a log.
func showEvents(o *options, output outputFormat) (engine.Report, func()) {
	if output == "json" {
		return jsonEvents(o), func() {}
	}
	if f, ok := terminal(o.Stderr); ok {
		return newLiveTable(f)
	}
	return plainLines(o.Stderr, quietFor)
}

// running holds the last event of each step that has not ended.
type running struct {
	mu    sync.Mutex
	steps map[[2]string]engine.Event // by host and step
}

func (r *running) note(e engine.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{e.Host, e.Step}
	if e.State != engine.Started && e.State != engine.Waiting {
		delete(r.steps, key)
		return
	}
	if r.steps == nil {
		r.steps = map[[2]string]engine.Event{}
	}
	r.steps[key] = e
}

// list gives those that match, the oldest first.
func (r *running) list(match func(engine.Event) bool) []engine.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []engine.Event
	for _, e := range r.steps {
		if match(e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b engine.Event) int {
		return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.Host+" "+a.Step, b.Host+" "+b.Step))
	})
	return out
}

// quietFor is how long a step may run before a log says what it waits for, and how often that is said.
const quietFor = 10 * time.Second

// plainLines prints what ended, and now and then what is still waited for.
func plainLines(w io.Writer, quiet time.Duration) (engine.Report, func()) {
	var r running
	var mu sync.Mutex
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(w, line)
	}
	stop := every(quiet, func() {
		for _, e := range r.list(func(e engine.Event) bool { return time.Since(e.Start) >= quiet }) {
			say(fmt.Sprintf("%s still after %.0f s: %s", label(e), time.Since(e.Start).Seconds(), cmp.Or(e.Message, "at work")))
		}
	})
	report := func(e engine.Event) {
		r.note(e)
		if line := eventLine(e); line != "" {
			say(line)
		}
	}
	return report, stop
}

// every calls f at this pace, and gives what ends that: it returns when the last call has.
func every(pace time.Duration, f func()) func() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				f()
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

func label(e engine.Event) string { return fmt.Sprintf("%-16s %-18s", cmp.Or(e.Host, "-"), e.Step) }

// eventLine says what ended; a start, a wait or a step with nothing to do is no news.
func eventLine(e engine.Event) string {
	switch e.State {
	case engine.Done:
		return fmt.Sprintf("%s done in %.2f s", label(e), e.Seconds)
	case engine.Failed:
		return fmt.Sprintf("%s failed after %.2f s", label(e), e.Seconds)
	case engine.Started, engine.Waiting, engine.Unchanged, engine.Stopped:
	}
	return ""
}
