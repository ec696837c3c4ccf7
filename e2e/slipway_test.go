package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const commandLimit = 30 * time.Minute // a bundle of another version is the longest

// result is what a finished program left.
type result struct {
	args           []string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return strings.Join(r.args, " ") + "\nstdout: " + r.stdout + "\nstderr: " + r.stderr
}

// invocation is one run of bin/slipway, with what differs from the usual.
type invocation struct {
	args  []string
	env   []string // added
	stdin io.Reader
	wrap  []string // the program that runs it
	// program is bin/slipway unless set.
	program string
}

func (i invocation) run(t testing.TB) result {
	t.Helper()
	if i.program == "" {
		i.program = binary()
	}
	args := append(append([]string{}, i.wrap...), append([]string{i.program}, i.args...)...)
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), i.env...)
	cmd.Stdin = i.stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %q: %v", args, err)
	}
	return result{args: args, stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

// slipway runs a command that must succeed.
func slipway(t testing.TB, args ...string) result {
	t.Helper()
	r := invocation{args: args}.run(t)
	if r.code != 0 {
		t.Fatalf("exit code %d of %v", r.code, r)
	}
	return r
}

// cluster is one that runs.
type cluster struct {
	name    string
	printed string // by "up" on stdout
}

// launch makes a cluster that is removed at the end of the test, if it is still there then.
func launch(t *testing.T, name string, args ...string) cluster {
	t.Helper()
	begin := time.Now()
	t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(os.Getenv(stateVar), "clusters", name)); err == nil {
			if out, err := exec.Command(binary(), "down", name).CombinedOutput(); err != nil {
				t.Errorf("remove cluster %q: %v\n%s", name, err, out)
			}
		}
	})
	r := slipway(t, append([]string{"up", "--name", name, "--egress=false", "--wait", "5m"}, args...)...)
	t.Logf("up %s took %.1f s\n%s", name, time.Since(begin).Seconds(), r.stderr)
	return cluster{name: name, printed: r.stdout}
}

func (c cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return slipway(t, append([]string{"kubectl", c.name, "--"}, args...)...).stdout
}

// try gives the result whatever the exit code is.
func (c cluster) try(t *testing.T, args ...string) result {
	t.Helper()
	return invocation{args: append([]string{"kubectl", c.name, "--"}, args...)}.run(t)
}

func (c cluster) apply(t *testing.T, manifest string) {
	t.Helper()
	r := invocation{args: []string{"kubectl", c.name, "--", "apply", "-f", "-"}, stdin: strings.NewReader(manifest)}.run(t)
	if r.code != 0 {
		t.Fatalf("%v", r)
	}
}

// eventually asks until check is content or the time is over, and says what was wrong last.
func eventually(t *testing.T, what string, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}
