package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	runc "github.com/containerd/go-runc"
)

// Command is a program to run in a machine, as root, with nothing between its arguments and it.
// The zero value of each stream is /dev/null.
type Command struct {
	Args   []string
	Env    []string // NAME=value, added to the machine's PATH and HOME
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// ExitError is a program in a machine that ended with another code than 0.
type ExitError struct {
	Args   []string
	Code   int
	Stderr string // the end of what it wrote there
}

func (e *ExitError) Error() string {
	text := fmt.Sprintf("%q ended with code %d", strings.Join(e.Args, " "), e.Code)
	if s := strings.TrimSpace(e.Stderr); s != "" {
		text += ": " + s[strings.LastIndexByte(s, '\n')+1:]
	}
	return text
}

// runPrefix begins the names of directories for programs that run in machines; the machine and ~, which is in no name, follow.
const runPrefix = "run-"

// forgetRuns removes what callers of Run that were killed have left. The machine must not run.
func (p *Provider) forgetRuns(id string) error {
	left, err := filepath.Glob(filepath.Join(p.cfg.RunDir, runPrefix+id+"~*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// Run runs a program in the machine and waits for its end. When the context ends first, the
// program is killed. The error is an *ExitError if the program failed by itself.
func (m *Machine) Run(ctx context.Context, c Command) error {
	process, err := rootProcess(c.Args...)
	if err != nil {
		return err
	}
	process.Env = append(process.Env, "HOME=/root", "LANG=C.UTF-8")
	process.Env = append(process.Env, c.Env...)
	dir, err := os.MkdirTemp(m.provider.cfg.RunDir, runPrefix+m.id()+"~")
	if err != nil {
		return fmt.Errorf("run %q: %w", c.Args, err)
	}
	defer os.RemoveAll(dir)
	streams := &runIO{command: c, pidFile: filepath.Join(dir, "pid")}
	log := filepath.Join(dir, "log")
	r := *m.provider.runc
	r.PdeathSignal = syscall.SIGTERM // which runc passes on to the program
	err = r.Exec(ctx, m.id(), *process, &runc.ExecOpts{IO: streams, PidFile: streams.pidFile, LogFile: log})
	streams.finish(ctx)
	return m.runError(ctx, c, streams, log, err)
}

func (m *Machine) runError(ctx context.Context, c Command, s *runIO, log string, err error) error {
	if err == nil {
		return s.err()
	}
	if ctx.Err() != nil {
		return fmt.Errorf("run %q on machine %q: %w", c.Args, m.Name(), context.Cause(ctx))
	}
	if why := lastError(log); why != "" {
		return fmt.Errorf("run %q on machine %q: %s", c.Args, m.Name(), why)
	}
	if code, ok := s.exitCode(); ok {
		return &ExitError{Args: c.Args, Code: code, Stderr: s.tail.String()}
	}
	return fmt.Errorf("run %q on machine %q: %w", c.Args, m.Name(), err)
}
