package build

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// tailLines of a failed command's output are shown; compilers put the cause last.
const tailLines = 20

// command is a program with its own process group, so that what it started ends with it.
type command struct {
	args    []string
	dir     string
	env     []string // added to this process's own
	private bool     // own mount namespace: whatever it mounts is gone with it
}

func (c command) run(ctx context.Context) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...) //nolint:gosec // the arguments are our own tables
	cmd.Dir = c.dir
	cmd.Env = append(cmd.Environ(), c.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.private {
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	// A group is asked first: mmdebstrap removes its directory then. WaitDelay kills what stays.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		return nil, fmt.Errorf("%s: %w", c.args[0], ctx.Err())
	}
	if err != nil {
		return nil, &commandError{args: c.args, output: stderr.String() + stdout.String(), err: err}
	}
	return stdout.Bytes(), nil
}

// commandError keeps the whole output and prints its end.
type commandError struct {
	args   []string
	output string
	err    error
}

func (e *commandError) Error() string {
	lines := strings.Split(strings.TrimSpace(e.output), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return fmt.Sprintf("%s: %v:\n%s", strings.Join(e.args[:min(2, len(e.args))], " "), e.err, strings.Join(lines, "\n"))
}

func (e *commandError) Unwrap() error { return e.err }
