package cmd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hinshun/vt10x"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/engine"
)

// screen is what a terminal shows of what was written to it.
type screen struct {
	mu     sync.Mutex
	vt     vt10x.Terminal
	writes int
}

func newScreen(width, height int) *screen {
	return &screen{vt: vt10x.New(vt10x.WithSize(width, height))}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	return s.vt.Write(p)
}

func (s *screen) size() (width, height int) { return s.vt.Size() }

// lines are without the empty ones at the end.
func (s *screen) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for line := range strings.Lines(s.vt.String()) {
		out = append(out, strings.TrimRight(line, " \n"))
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

func (s *screen) cursor() (line int, visible bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vt.Cursor().Y, s.vt.CursorVisible()
}

func utf8Marks() marks {
	return marksOf(func(string) string { return "C.UTF-8" })
}

// drawnOn is a table that is drawn when a test says so.
func drawnOn(s *screen) *liveTable { return &liveTable{out: s, size: s.size, mark: utf8Marks()} }

func wantLines(t *testing.T, s *screen, want ...string) {
	t.Helper()
	if got := strings.Join(s.lines(), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the screen shows\n%s\ninstead of\n%s", got, strings.Join(want, "\n"))
	}
}

var began = time.Unix(1_800_000_000, 0)

func after(seconds float64) time.Time {
	return began.Add(time.Duration(seconds * float64(time.Second)))
}

// TestLiveTable is the life of two nodes.
func TestLiveTable(t *testing.T) {
	s := newScreen(80, 10)
	fmt.Fprint(s, "$ slipway up\r\n")
	table := drawnOn(s)
	table.note(engine.Event{Host: "dev-worker-1", Step: "machine", State: engine.Started, Steps: 1}, began)
	table.note(engine.Event{Host: "dev-cp-1", Step: "machine", State: engine.Started, Steps: 1}, began)
	table.draw(after(0), false)
	wantLines(t, s, "$ slipway up",
		"• dev-cp-1      ────────────  0/1   0 s  machine",
		"• dev-worker-1  ────────────  0/1   0 s  machine")

	table.note(engine.Event{Host: "dev-worker-1", Step: "machine", State: engine.Done}, after(0.5))
	table.note(engine.Event{Host: "dev-cp-1", Step: "machine", State: engine.Done}, after(0.5))
	table.draw(after(0.6), false)
	if strings.Contains(strings.Join(s.lines(), ""), "✓") {
		t.Error("a node counts as done between its machine and what comes on it")
	}
	table.note(engine.Event{Host: "dev-cp-1", Step: "kubelet", State: engine.Started, Steps: 3}, after(0.7))
	table.note(engine.Event{Host: "dev-cp-1", Step: "images", State: engine.Started}, after(1))
	table.note(engine.Event{Host: "dev-cp-1", Step: "kubelet", State: engine.Unchanged}, after(2))
	table.note(engine.Event{Host: "dev-cp-1", Step: "api", State: engine.Started}, after(2))
	table.note(engine.Event{Host: "dev-cp-1", Step: "api", State: engine.Waiting, Message: "wait for the\n\x1b[2JAPI server"}, after(3))
	table.draw(after(4.9), false)
	wantLines(t, s, "$ slipway up",
		"• dev-cp-1      ━━━━━━──────  2/4   4 s  images, api: wait for the [2JAPI serv…",
		"✓ dev-worker-1  ━━━━━━━━━━━━  1/1   0 s")

	for _, step := range []string{"mark", "addons"} {
		table.note(engine.Event{Host: "dev-cp-1", Step: step, State: engine.Started}, after(5))
	}
	table.rows[0].steps += 2
	table.draw(after(5), false)
	if got := s.lines()[1]; !strings.HasSuffix(got, "  images, api +2: wait for the [2JAPI s…") {
		t.Errorf("with four steps at work: %q", got)
	}
	for _, step := range []string{"mark", "addons"} {
		table.note(engine.Event{Host: "dev-cp-1", Step: step, State: engine.Done}, after(5))
	}
	table.note(engine.Event{Host: "dev-cp-1", Step: "images", State: engine.Done}, after(5))
	table.note(engine.Event{Host: "dev-cp-1", Step: "api", State: engine.Done}, after(6.2))
	table.draw(after(6.3), true)
	wantLines(t, s, "$ slipway up",
		"✓ dev-cp-1      ━━━━━━━━━━━━  6/6   6 s",
		"✓ dev-worker-1  ━━━━━━━━━━━━  1/1   0 s")
	if line, visible := s.cursor(); line != 3 || !visible {
		t.Errorf("the cursor is in line %d, visible %v", line, visible)
	}
}

// TestLiveTableFailure: the failed step is named, and what was stopped with it is no success.
func TestLiveTableFailure(t *testing.T) {
	s := newScreen(80, 10)
	table := drawnOn(s)
	for _, host := range []string{"n1", "n2", "n3"} {
		table.note(engine.Event{Host: host, Step: "kernel", State: engine.Started, Steps: 2}, began)
		table.note(engine.Event{Host: host, Step: "kernel", State: engine.Done}, began)
		table.note(engine.Event{Host: host, Step: "etcd", State: engine.Started}, began)
	}
	table.note(engine.Event{Host: "n1", Step: "etcd", State: engine.Failed}, after(9))
	table.note(engine.Event{Host: "n2", Step: "etcd", State: engine.Stopped}, after(9))
	table.draw(after(9.5), true) // of n3 nothing was heard any more
	wantLines(t, s,
		"✗ n1  ━━━━━━──────  1/2   9 s  failed: etcd",
		"- n2  ━━━━━━──────  1/2   9 s  stopped",
		"- n3  ━━━━━━──────  1/2   9 s  etcd")
}

// TestLiveTableFewWrites: a frame is one write, and the same frame is not drawn twice.
func TestLiveTableFewWrites(t *testing.T) {
	s := newScreen(80, 10)
	table := drawnOn(s)
	table.note(engine.Event{Host: "n1", Step: "kernel", State: engine.Started, Steps: 2}, began)
	for tenth := range 30 {
		table.draw(after(float64(tenth)/10), false)
	}
	if s.writes != 3 {
		t.Errorf("%d writes in three seconds in which nothing happened", s.writes)
	}
}

// TestLiveTableSmallTerminal: there are more nodes than lines, and lines are narrow; then the terminal gets another size.
func TestLiveTableSmallTerminal(t *testing.T) {
	s := newScreen(34, 5)
	fmt.Fprint(s, "$ slipway up\r\n")
	table := drawnOn(s)
	for i := range 8 {
		host := fmt.Sprintf("a-cluster-with-a-long-name-worker-%d", i+1)
		table.note(engine.Event{Host: host, Step: "kernel", State: engine.Started, Steps: 2}, began)
		if i < 4 {
			table.note(engine.Event{Host: host, Step: "kernel", State: engine.Done}, began)
			table.note(engine.Event{Host: host, Step: "kubelet", State: engine.Started}, began)
			table.note(engine.Event{Host: host, Step: "kubelet", State: engine.Done}, began)
		}
	}
	table.note(engine.Event{Host: "a-cluster-with-a-long-name-worker-8", Step: "kernel", State: engine.Failed}, began)
	for second := range 5 {
		table.draw(after(float64(second)+2), false)
	}
	wantLines(t, s,
		"• a-c…orker-5  0/2   6 s  kernel",
		"• a-c…orker-6  0/2   6 s  kernel",
		"✗ a-c…orker-8  0/2   0 s  failed…",
		"  and 5 more: 1 at work, 4 done")

	s.vt.Resize(90, 12)
	table.draw(after(7), false)
	got := s.lines()
	if len(got) != 8 || !strings.HasPrefix(got[7], "✗ a-cluster…a-long-name-worker-8  ─────") {
		t.Errorf("after the terminal has grown it shows\n%s", strings.Join(got, "\n"))
	}
	for _, size := range [][2]int{{1, 1}, {2, 2}, {0, 0}, {10, 3}} { // nothing is wanted but that it ends
		drawn := &liveTable{out: newScreen(80, 24), mark: utf8Marks(), rows: table.rows, size: func() (int, int) { return size[0], size[1] }}
		drawn.draw(after(8), false)
		drawn.draw(after(9), true)
	}
}

func TestLiveTableMarks(t *testing.T) {
	for env, want := range map[string]string{"de_DE.UTF-8": "✓", "C.utf8": "✓", "C": "+", "": "+"} {
		if got := marksOf(func(string) string { return env }).done; got != want {
			t.Errorf("%q with locale %q", got, env)
		}
	}
}

// TestMain is also the program that TestOnTerminal runs: it shows events that come from nowhere, and ends as it is told to.
func TestMain(m *testing.M) {
	how := os.Getenv("SLIPWAY_TEST_TERMINAL")
	if how == "" {
		os.Exit(m.Run())
	}
	show, finish := showEvents(newOptions(), "text")
	show(engine.Event{Host: "n1", Step: "kernel", State: engine.Started, Start: time.Now(), Steps: 2})
	show(engine.Event{Host: "n1", Step: "kernel", State: engine.Done, Seconds: 0.5})
	show(engine.Event{Host: "n1", Step: "api", State: engine.Started, Start: time.Now()})
	fmt.Fscanln(os.Stdin)
	switch how {
	case "done":
		show(engine.Event{Host: "n1", Step: "api", State: engine.Done})
	case "failed":
		show(engine.Event{Host: "n1", Step: "api", State: engine.Failed})
	case "panic":
		panic("such and such")
	}
	finish()
	fmt.Println("after it")
}

// terminalRun is a program on a terminal of its own.
type terminalRun struct {
	*screen
	cmd    *exec.Cmd
	stdin  io.WriteCloser // no keyboard: the terminal would show what is typed
	master *os.File
	raw    bytes.Buffer
	read   chan struct{}
}

func runOnTerminal(t *testing.T, how string, env ...string) *terminalRun {
	t.Helper()
	master, slave := openPTY(t)
	r := &terminalRun{screen: newScreen(80, 10), master: master, read: make(chan struct{})}
	r.resize(t, 80, 10)
	r.cmd = exec.Command(os.Args[0])
	r.cmd.Env = append([]string{"SLIPWAY_TEST_TERMINAL=" + how, "TERM=xterm", "LANG=C.UTF-8"}, env...)
	r.cmd.Stdout, r.cmd.Stderr = slave, slave
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1}
	var err error
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		r.cmd.Wait()
	})
	go func() {
		defer close(r.read)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			r.Write(buf[:n])
			r.raw.Write(buf[:n])
			if err != nil { // EIO, when nobody has the other end any more
				return
			}
		}
	}()
	return r
}

func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func (r *terminalRun) resize(t *testing.T, width, height uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(r.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.vt.Resize(int(width), int(height))
}

func (r *terminalRun) await(t *testing.T, want func(screen string) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !want(strings.Join(r.lines(), "\n")); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the screen shows\n%s", strings.Join(r.lines(), "\n"))
		}
	}
}

// TestOnTerminal: however a program ends, the terminal that it ran on is tidy.
func TestOnTerminal(t *testing.T) {
	const bar = "  ━━━━━━──────  1/2   0 s  "
	for how, want := range map[string][]string{
		"done":   {"✓ n1  ━━━━━━━━━━━━  2/2   0 s", "after it"},
		"failed": {"✗ n1" + bar + "failed: api", "after it"},
		"panic":  {"• n1" + bar + "api", "panic: such and such"},
		"^C":     {"• n1" + bar + "api", "^C"},
	} {
		t.Run(how, func(t *testing.T) {
			r := runOnTerminal(t, how)
			r.await(t, func(s string) bool { return strings.Contains(s, "  api") }) // no frame before it is wanted
			if how == "^C" {
				r.master.WriteString("\x03")
			} else {
				io.WriteString(r.stdin, "\n")
			}
			r.cmd.Wait()
			<-r.read
			got := r.lines()
			for i, line := range want {
				if i >= len(got) || !strings.HasPrefix(timeless(got[i]), timeless(line)) {
					t.Fatalf("the screen shows\n%s\ninstead of\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
			if _, visible := r.cursor(); !visible {
				t.Error("the cursor is hidden")
			}
		})
	}
}

// timeless is a line without its seconds: the test takes as long as it takes.
func timeless(line string) string {
	before, after, ok := strings.Cut(line, " s")
	if !ok {
		return line
	}
	return strings.TrimRight(before, " 0123456789") + after
}

// TestOnTerminalResized: a terminal that gets narrower is noticed, whatever happens otherwise.
func TestOnTerminalResized(t *testing.T) {
	r := runOnTerminal(t, "done")
	r.await(t, func(s string) bool { return strings.Contains(s, "━━━") })
	r.resize(t, 30, 10)
	r.await(t, func(s string) bool { return strings.HasPrefix(s, "• n1  1/2") && !strings.Contains(s, "━") })
}

// TestNotDrawn: who does not want to see it drawn reads lines.
func TestNotDrawn(t *testing.T) {
	for _, env := range []string{"TERM=dumb", "NO_COLOR=1", "CI=true", "TERM="} {
		r := runOnTerminal(t, "done", env)
		r.await(t, func(s string) bool { return strings.Contains(s, "kernel") })
		io.WriteString(r.stdin, "\n")
		r.cmd.Wait()
		<-r.read
		if bytes.ContainsAny(r.raw.Bytes(), "\x1b✓") || !strings.Contains(r.raw.String(), "kernel             done in 0.50 s") {
			t.Errorf("with %s: %q", env, r.raw.String())
		}
	}
}
