package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// buildWriter puts the program into a directory that machines see.
func buildWriter(t *testing.T, share string) {
	t.Helper()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(share, "writer"), "./writer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build writer: %v\n%s", err, out)
	}
}

// writing is the writer at work on a machine, and what it has said.
type writing struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // it has said everything

	mu      sync.Mutex
	clients map[string]*written
	servers int // one client for each
}

// written is what one of the writer's clients has met.
type written struct {
	acknowledged []string
	lost         []string
	succeeded    int
	failed       int
	last         time.Time     // of its successes, or its beginning
	gap          time.Duration // the longest between two successes, or one and the end
}

// requestLimit is how long one of the writer's requests may take where it is to be measured for how long the API is away.
const requestLimit = 2 * time.Second

func (g group) startWriter(t *testing.T, i, servers int, args ...string) *writing {
	t.Helper()
	return startWriter(t, requestLimit, servers, append([]string{binary(), "ssh", g.name, g.machine(i), "--", "/media/share/writer"}, args...)...)
}

// startWriter runs the writer by a command to which is added how long a request may take, and the number of API servers, with a client
// for each.
func startWriter(t *testing.T, timeout time.Duration, servers int, command ...string) *writing {
	t.Helper()
	w := &writing{ended: make(chan struct{}), clients: map[string]*written{}, servers: servers}
	w.cmd = exec.CommandContext(t.Context(), command[0], append(command[1:], timeout.String(), strconv.Itoa(servers))...)
	w.cmd.Stderr = os.Stderr
	stdin, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.stdin = stdin
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // where the test did not come to the writer's end
		stdin.Close()
		<-w.ended
		_ = w.cmd.Wait()
	})
	go func() {
		defer close(w.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.hear(t, lines.Text())
		}
	}()
	return w
}

// hear takes a line: when in nanoseconds, which client, what, and about what.
func (w *writing) hear(t *testing.T, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := strings.SplitN(line, " ", 4)
	nanos, err := strconv.ParseInt(said[0], 10, 64)
	if err != nil || len(said) < 4 {
		t.Errorf("the writer said %q", line)
		return
	}
	at, c := time.Unix(0, nanos), w.clients[said[1]]
	if c == nil {
		c = &written{last: at}
		w.clients[said[1]] = c
	}
	switch said[2] {
	case "wrote":
		c.acknowledged = append(c.acknowledged, said[3])
		c.success(at)
	case "read":
		c.success(at)
	case "lost":
		c.lost = append(c.lost, said[3])
	case "failed":
		c.failed++
		t.Logf("%s %s failed: %s", at.Format("15:04:05.000"), said[1], said[3])
	case "ends":
		c.gap = max(c.gap, at.Sub(c.last))
	}
}

func (c *written) success(at time.Time) {
	c.succeeded++
	c.gap, c.last = max(c.gap, at.Sub(c.last)), at
}

// goesOn waits until every client has had so many more successes: about ten seconds of requests where nothing disturbs.
func (w *writing) goesOn(t *testing.T) {
	t.Helper()
	const enough = 100
	before := w.successes()
	eventually(t, "every client of the API goes on", 2*time.Minute, func() error {
		select {
		case <-w.ended:
			t.Fatal("the writer has ended")
		default:
		}
		now := w.successes()
		for name, n := range now {
			if n < before[name]+enough {
				return fmt.Errorf("%s has succeeded %d times, %d before", name, n, before[name])
			}
		}
		if len(now) != w.servers {
			return fmt.Errorf("%d clients", len(now))
		}
		return nil
	})
}

func (w *writing) successes() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for name, c := range w.clients {
		out[name] = c.succeeded
	}
	return out
}

// end gives the writer's last words, of all clients together.
func (w *writing) end(t *testing.T) written {
	t.Helper()
	w.stdin.Close()
	<-w.ended
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("the writer: %v", err)
	}
	var all written
	for _, c := range w.clients {
		all.acknowledged = append(all.acknowledged, c.acknowledged...)
		all.lost = append(all.lost, c.lost...)
		all.succeeded += c.succeeded
		all.failed += c.failed
		all.gap = max(all.gap, c.gap)
	}
	return all
}
