package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestUpKilled ends launches at the start of every step in turn, with SIGKILL and with ^C. The same command goes on each time, and in
// the end there is one good cluster. `down` removes what any of them has left.
func TestUpKilled(t *testing.T) {
	need(t)
	before := takeInventory(t)
	t.Cleanup(func() { _ = exec.Command(binary(), "down", "cut").Run() }) // if this test ended early
	var steps []string
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		if !t.Run("up after "+sig.String(), func(t *testing.T) { steps = upAtEveryStep(t, sig) }) {
			t.FailNow()
		}
		cluster{name: "cut"}.kubectl(t, "wait", "node", "--all", "--for=condition=Ready", "--timeout=1s")
		slipway(t, "down", "cut")
		before.compare(t, takeInventory(t))
	}
	for i, step := range steps {
		sig := []syscall.Signal{syscall.SIGKILL, syscall.SIGINT}[i%2]
		if !t.Run(fmt.Sprintf("down after %v at %s", sig, step), func(t *testing.T) {
			begun := func(s string) bool { return s == step }
			if at, code, said := stopUp(t, sig, begun); at == "" {
				t.Fatalf("it was not stopped; exit code %d: %s", code, said)
			}
			if i == 0 {
				checkDownAgain(t, "cut")
			} else if r := (invocation{args: []string{"down", "cut"}}).run(t); r.code != 0 && !strings.Contains(r.stderr, "error[cluster-unknown]") {
				t.Errorf("down: %v", r) // that there is no cluster may be true: it may have been stopped before it made anything
			}
			before.compare(t, takeInventory(t))
		}) {
			t.FailNow()
		}
	}
}

// upAtEveryStep runs a launch again and again, each time until a step begins that it has not been stopped at yet. It gives these.
func upAtEveryStep(t *testing.T, sig syscall.Signal) []string {
	t.Helper()
	stopped := map[string]bool{}
	for range 100 {
		at, code, said := stopUp(t, sig, func(step string) bool { return !stopped[step] })
		switch {
		case at == "" && code != 0:
			t.Fatalf("it failed after it was stopped at %v: %s", stopped, said)
		case at == "":
			t.Logf("stopped at %d steps", len(stopped))
			if len(stopped) < 20 {
				t.Errorf("only at %v", stopped)
			}
			return slices.Sorted(maps.Keys(stopped))
		case sig == syscall.SIGINT && code != 130 && code != 0: // it may just have come to its end
			t.Errorf("stopped at %s: exit code %d, want 130: %s", at, code, said)
		}
		stopped[at] = true
	}
	t.Fatalf("it does not come to an end: stopped at %v", stopped)
	return nil
}

// stopUp sends a signal to a launch when a step begins at which it is to stop.
func stopUp(t *testing.T, sig syscall.Signal, here func(step string) bool) (at string, code int, said string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(), "up", "--name", "cut", "--egress=false", "--wait", "5m", "-o", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	at, err := stopAt(cmd, here, func(string) { _ = cmd.Process.Signal(sig) })
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return at, cmd.ProcessState.ExitCode(), stderr.String()
}

// stopAt runs a command that prints events, and calls stop once, at the start of the first step that is to be stopped at. It gives
// that step, or nothing where there was none, and how the command ended.
func stopAt(cmd *exec.Cmd, here func(step string) bool, stop func(step string)) (at string, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct{ Step, State string }
		if at == "" && json.Unmarshal(lines.Bytes(), &e) == nil && e.State == "started" && here(e.Step) {
			at = e.Step
			stop(at)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	return at, cmd.Wait()
}

// checkDownAgain lets a removal fail at its end; the same command then completes it, and nothing else is done meanwhile.
func checkDownAgain(t *testing.T, name string) {
	t.Helper()
	broken := invocation{args: []string{"down", name}}
	withKubeconfig("{ not: [yaml")(t, &broken)
	refusal{id: "kubeconfig-unreadable"}.check(t, broken.run(t))
	refusal{id: "cluster-removing"}.check(t, invocation{args: []string{"up", "--name", name, "--egress=false"}}.run(t))
	slipway(t, "down", name)
}
