package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

const streamLimit = 30 * time.Second

func checkAccess(t *testing.T, c cluster) {
	t.Run("exec", func(t *testing.T) {
		if got := c.kubectl(t, "exec", "probe-1", "--", "/echo", "cat", "/etc/hostname"); strings.TrimSpace(got) != "probe-1" {
			t.Errorf("got %q", got)
		}
		if r := c.try(t, "exec", "probe-1", "--", "/echo", "cat", "/missing"); r.code != 14 {
			t.Errorf("the exit code did not come through: %v", r)
		}
	})
	t.Run("logs", func(t *testing.T) { checkLogs(t, c) })
	t.Run("port-forward", func(t *testing.T) { checkForward(t, c) })
}

// checkLogs follows a log and makes a request that must then appear in it.
func checkLogs(t *testing.T, c cluster) {
	pod := echoPods(t)[0]
	out := c.follow(t, "logs", "-f", "--since=1s", pod)
	mark := fmt.Sprintf("/mark-%d", time.Now().UnixNano())
	address := c.kubectl(t, "get", "pod", pod, "-o", "jsonpath={.status.podIP}")
	c.kubectl(t, "exec", "probe-1", "--", "/echo", "get", "http://"+address+":8080"+mark)
	awaitLine(t, out, regexp.MustCompile(regexp.QuoteMeta(mark)))
}

func checkForward(t *testing.T, c cluster) {
	out := c.follow(t, "port-forward", "deployment/echo", ":8080")
	match := awaitLine(t, out, regexp.MustCompile(`127\.0\.0\.1:(\d+) ->`))
	eventually(t, "an answer through the forwarded port", answerLimit, func() error {
		return fetch(t, "http://127.0.0.1:"+match[1]+"/")
	})
}

// follow starts kubectl, gives its output, and ends it with the test.
func (c cluster) follow(t *testing.T, args ...string) io.Reader {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(), append([]string{"kubectl", c.name, "--"}, args...)...)
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		r.Close()
	})
	return r
}

func awaitLine(t *testing.T, r io.Reader, want *regexp.Regexp) []string {
	t.Helper()
	found := make(chan []string, 1)
	go func() {
		defer close(found)
		for s := bufio.NewScanner(r); s.Scan(); {
			if m := want.FindStringSubmatch(s.Text()); m != nil {
				found <- m
				return
			}
		}
	}()
	select {
	case m := <-found:
		if m == nil {
			t.Fatalf("the output ended without %v", want)
		}
		return m
	case <-time.After(streamLimit):
		t.Fatalf("no %v within %v", want, streamLimit)
	}
	return nil
}
