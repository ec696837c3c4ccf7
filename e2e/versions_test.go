package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestOlderVersions launches the other supported minors with one node, which takes workloads, and each with an option
// that is off by default.
func TestOlderVersions(t *testing.T) {
	need(t)
	for minor, option := range map[string]string{"1.35": "--key-algorithm=rsa", "1.36": "--typha"} {
		t.Run(minor, func(t *testing.T) {
			writeForeign(t)
			buildBundle(t, minor)
			before := takeInventory(t)
			c := launch(t, "a", "--kubernetes-version", minor, option, "-o", "json")
			checkEvents(t, c.printed)
			checkNodes(t, 1, "v"+minor+".")
			eventually(t, "kube-system pods Ready", readyLimit, func() error { return systemPodsReady(t) })
			loadEcho(t, c)
			c.kubectl(t, "run", "echo", "--image="+echoImage, "--image-pull-policy=Never", "--", "serve")
			c.kubectl(t, "wait", "pod/echo", "--for=condition=Ready", "--timeout=60s")
			c.kubectl(t, "exec", "echo", "--", "/echo", "get", "http://localhost:8080/")
			slipway(t, "down", "a")
			before.compare(t, takeInventory(t))
		})
	}
}

// checkEvents: one JSON object a line, and of each step that ended when it began and how long it took.
func checkEvents(t *testing.T, printed string) {
	t.Helper()
	ended := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(printed), "\n") {
		var e struct {
			Host, Step, State string
			Start             time.Time
			Seconds           float64
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if e.Step == "" || e.State == "" || e.Start.IsZero() {
			t.Errorf("an event without its step, state or start: %s", line)
		}
		if e.State == "done" {
			ended[e.Host+"/"+e.Step] = e.Seconds > 0
		}
	}
	if len(ended) < 5 {
		t.Errorf("only %d steps ended: %v", len(ended), ended)
	}
}

// buildBundle builds in the outer process's network namespace: a build without a cache must reach the
// module proxy, which this test's own namespace cannot.
func buildBundle(t *testing.T, minor string) {
	t.Helper()
	r := invocation{
		args: []string{"images", "build", "--kubernetes-version", minor},
		wrap: []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", os.Getppid()), "--"},
	}.run(t)
	if r.code != 0 {
		t.Fatalf("exit code %d of %v", r.code, r)
	}
}
