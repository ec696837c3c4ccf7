package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// boot starts the machine and waits until its systemd says that it is up.
func (p *Provider) boot(ctx context.Context, s *machineState) error {
	h := p.home(s.Spec)
	up, err := listenForUp(h.bundle())
	if err != nil {
		return err
	}
	defer up.Close()
	console, err := os.OpenFile(filepath.Join(string(h), "console.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	cgroup, err := openUnified(cgroupPath(s.Spec.Cluster, s.Spec.Name))
	if err != nil {
		return err
	}
	if cgroup != nil {
		defer cgroup.Close()
	}
	if err := p.runContainer(ctx, s.Spec, &bootIO{console: console, cgroup: cgroup}); err != nil {
		return err
	}
	if err := up.wait(ctx, hasEnded(filepath.Join(h.bundle(), pidName))); err != nil {
		return fmt.Errorf("wait for its systemd: %w (its last words: %q)", err, tailOfFile(console.Name()))
	}
	return nil
}

const pidName = "pid"

// hasEnded looks for a process by its pid file; what is not there any more has ended.
func hasEnded(pidFile string) func() bool {
	return func() bool {
		pid, ok := readPid(pidFile)
		if !ok {
			return true
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return true
		}
		defer unix.Close(fd)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) // readable: a zombie
		return err == nil && n > 0
	}
}

func (p *Provider) runContainer(ctx context.Context, s MachineSpec, io *bootIO) error {
	h := p.home(s)
	log := filepath.Join(h.bundle(), "log")
	_ = os.Remove(log)
	r := *p.runc
	r.Log = log
	opts := &runc.CreateOpts{IO: io, Detach: true, PidFile: filepath.Join(h.bundle(), pidName)}
	if _, err := r.Run(ctx, machineID(s.Cluster, s.Name), h.bundle(), opts); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("start its container: %w: %s", err, lastError(log))
	}
	return nil
}

// bootIO is what a machine's PID 1 has as its standard files. Where cgroup v2 is mounted beside
// v1 hierarchies, runc does not use it, so runc itself is started inside the machine's group.
type bootIO struct {
	console *os.File
	cgroup  *os.File
}

func (b *bootIO) Set(cmd *exec.Cmd) {
	cmd.Stdout, cmd.Stderr = b.console, b.console
	if b.cgroup == nil {
		return
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD = true
	cmd.SysProcAttr.CgroupFD = int(b.cgroup.Fd())
}

func (b *bootIO) Close() error          { return nil }
func (b *bootIO) Stdin() io.WriteCloser { return nil }
func (b *bootIO) Stdout() io.ReadCloser { return nil }
func (b *bootIO) Stderr() io.ReadCloser { return nil }

// lastError gives the message that runc logged last.
func lastError(log string) string {
	data, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	last := ""
	for line := range bytes.Lines(data) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && entry.Level == "error" {
			last = entry.Msg
		}
	}
	return last
}

const tailBytes = 2048

func tailOfFile(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil { // shorter than that
		_, _ = f.Seek(0, io.SeekStart)
	}
	data, err := io.ReadAll(io.LimitReader(f, tailBytes))
	return string(errorOr(data, err))
}

func errorOr(data []byte, err error) []byte {
	if err != nil && !errors.Is(err, io.EOF) {
		return []byte(err.Error())
	}
	return data
}
