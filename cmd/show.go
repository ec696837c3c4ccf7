package cmd

import (
	"fmt"
	"sync"

	"slipway.dev/slipway/bootstrap/engine"
)

// showEvents gives what shows events while a cluster comes up, and what to call when it has: JSON lines on stdout for
// programs, plain lines on stderr for people.
func showEvents(o *options, output outputFormat) (engine.Report, func()) {
	if output == "json" {
		return jsonEvents(o), func() {}
	}
	var mu sync.Mutex
	return func(e engine.Event) {
		mu.Lock()
		defer mu.Unlock()
		if line := eventLine(e); line != "" {
			fmt.Fprintln(o.Stderr, line)
		}
	}, func() {}
}

// eventLine says what ended and what is waited for; a start or a step with nothing to do is no news.
func eventLine(e engine.Event) string {
	host := e.Host
	if host == "" {
		host = "-"
	}
	switch e.State {
	case engine.Done:
		return fmt.Sprintf("%-16s %-20s done in %.2f s", host, e.Step, e.Seconds)
	case engine.Failed:
		return fmt.Sprintf("%-16s %-20s failed after %.2f s", host, e.Step, e.Seconds)
	case engine.Waiting:
		return fmt.Sprintf("%-16s %-20s %s", host, e.Step, e.Message)
	case engine.Started, engine.Unchanged, engine.Stopped:
	}
	return ""
}
