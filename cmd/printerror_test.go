package cmd

import (
	"bytes"
	"errors"
	"testing"

	"slipway.dev/slipway/internal/fault"
)

// TestPrintError: what could not be done, where, in which step, what the right log says, and what to do next.
func TestPrintError(t *testing.T) {
	f := fault.New("api-not-ready", "wait for the API server", errors.New("connection refused"), "look at the logs")
	f.Host, f.Step = "n1", "api"
	f.Log = &fault.Log{Of: "etcd (pod etcd-n1)", Lines: []string{"one", "two \x1b[2Jthree"}}
	var out bytes.Buffer
	printError(&out, errors.Join(f, fault.New("other", "do that", errors.New("why"), "")))
	const want = `error[api-not-ready]: n1: wait for the API server: connection refused
  step: api
  the end of what etcd (pod etcd-n1) has logged:
    one
    two [2Jthree
  next: look at the logs
error[other]: do that: why
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}
