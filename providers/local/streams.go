package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// runIO connects a program's streams. It has pipes of its own instead of leaving them to
// os/exec, because a reader that blocks must not keep Run from returning after the program's end.
type runIO struct {
	command Command
	pidFile string
	cmd     *exec.Cmd
	tail    tail
	ours    []*os.File // our ends of the output pipes
	theirs  []*os.File // the program's ends of all pipes
	outputs sync.WaitGroup
	mu      sync.Mutex
	failed  error
}

func (r *runIO) Set(cmd *exec.Cmd) {
	r.cmd = cmd
	stderr := io.Writer(&r.tail)
	if r.command.Stderr != nil {
		stderr = io.MultiWriter(r.command.Stderr, &r.tail)
	}
	cmd.Stdout = r.output(r.command.Stdout)
	cmd.Stderr = r.output(stderr)
	cmd.Stdin = r.input(r.command.Stdin)
	cmd.Cancel = r.cancel
	cmd.WaitDelay = cancelLimit
}

// cancelLimit is what runc gets to start a program whose pid is to be known, and again to see that
// it was killed, before it is killed itself.
const (
	cancelLimit = 2 * time.Second
	cancelRetry = 5 * time.Millisecond
)

// cancel kills the program and what is in its process group; runc then ends by itself. A program
// can run for a moment before runc writes down its pid.
func (r *runIO) cancel() error {
	for deadline := time.Now().Add(cancelLimit); time.Now().Before(deadline); time.Sleep(cancelRetry) {
		if pid, ok := readPid(r.pidFile); ok {
			return killGroup(pid)
		}
		if r.cmd.Process.Signal(syscall.Signal(0)) != nil { // it has ended
			return os.ErrProcessDone
		}
	}
	return r.cmd.Process.Signal(syscall.SIGTERM) // which runc passes on
}

func readPid(file string) (int, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid, err == nil && pid > 1
}

func killGroup(pid int) error {
	if group, err := syscall.Getpgid(pid); err == nil && group == pid {
		pid = -pid
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// output gives what the program writes to; a file needs nobody to copy.
func (r *runIO) output(w io.Writer) io.Writer {
	if w == nil {
		w = io.Discard
	}
	if f, ok := w.(*os.File); ok {
		return f
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		r.fail(err)
		return w
	}
	r.ours, r.theirs = append(r.ours, ours), append(r.theirs, theirs)
	r.outputs.Add(1)
	go func() {
		defer r.outputs.Done()
		if _, err := io.Copy(w, ours); err != nil {
			r.fail(fmt.Errorf("copy the program's output: %w", err))
			_ = ours.Close() // the program gets SIGPIPE instead of blocking for ever
		}
	}()
	return theirs
}

func (r *runIO) input(in io.Reader) io.Reader {
	if in == nil {
		return nil
	}
	if f, ok := in.(*os.File); ok {
		return f
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		r.fail(err)
		return nil
	}
	r.theirs = append(r.theirs, theirs)
	go func() { // not waited for: it may block in the caller's reader after the program's end
		_, _ = io.Copy(ours, in)
		_ = ours.Close()
	}()
	return theirs
}

// CloseAfterStart leaves the program as the only holder of its ends.
func (r *runIO) CloseAfterStart() error {
	for _, f := range r.theirs {
		_ = f.Close()
	}
	return nil
}

// finish waits until all output has arrived. A child in the background may hold a pipe open; then
// it is the context that ends the wait.
func (r *runIO) finish(ctx context.Context) {
	_ = r.CloseAfterStart() // in case it never started
	stop := context.AfterFunc(ctx, func() {
		for _, f := range r.ours {
			_ = f.SetReadDeadline(time.Unix(1, 0))
		}
	})
	r.outputs.Wait()
	stop()
	for _, f := range r.ours {
		_ = f.Close()
	}
}

func (r *runIO) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
}

func (r *runIO) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *runIO) exitCode() (int, bool) {
	if r.cmd == nil || r.cmd.ProcessState == nil {
		return 0, false
	}
	return r.cmd.ProcessState.ExitCode(), true
}

func (r *runIO) Close() error          { return nil }
func (r *runIO) Stdin() io.WriteCloser { return nil }
func (r *runIO) Stdout() io.ReadCloser { return nil }
func (r *runIO) Stderr() io.ReadCloser { return nil }

// tail keeps the end of what is written to it.
type tail struct{ data []byte }

const tailLimit = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if len(t.data) > tailLimit {
		t.data = append(t.data[:0], t.data[len(t.data)-tailLimit:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.data) }
