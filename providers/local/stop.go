package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// powerOff is SIGRTMIN+4 as systemd(1) has it, by which a machine's systemd ends everything and then itself.
const powerOff = unix.Signal(34 + 4)

// Stop shuts a machine down and takes away what it consists of while it runs; its files stay. What does not end within
// grace is killed. It tells whether the machine ran at all.
func (p *Provider) Stop(ctx context.Context, cluster, name string, grace time.Duration) (bool, error) {
	m, unlock, err := p.existing(ctx, cluster, name)
	if err != nil {
		return false, err
	}
	defer unlock()
	if m.state == Paused { // what is frozen cannot end
		if err := p.runc.Resume(ctx, m.id()); err != nil {
			return true, fmt.Errorf("resume machine %q of cluster %q: %w", name, cluster, err)
		}
	}
	if m.pid != 0 {
		if err := p.shutDown(ctx, m, grace); err != nil {
			return true, fmt.Errorf("shut down machine %q of cluster %q: %w", name, cluster, err)
		}
	}
	if err := p.stop(ctx, cluster, name); err != nil {
		return m.pid != 0, fmt.Errorf("stop machine %q of cluster %q: %w", name, cluster, err)
	}
	return m.pid != 0, nil
}

// shutDown returns when the machine's systemd has ended, when nobody is left in it who could, or when grace is over.
func (p *Provider) shutDown(ctx context.Context, m *Machine, grace time.Duration) error {
	fd, err := unix.PidfdOpen(m.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", m.pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, powerOff, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", m.pid, err)
	}
	for deadline := time.Now().Add(grace); time.Now().Before(deadline); {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, pollMillis)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d to end: %w", m.pid, err)
		}
		if hears, err := anyHears(cgroupPath(m.spec.Cluster, m.spec.Name), m.pid); err != nil || !hears {
			return err
		}
	}
	return nil
}

// anyHears tells whether a machine has a process besides its systemd that may still end by itself. Its systemd would wait
// for the others too, of which there is one in every pod whose program has nothing to say about signals.
func anyHears(group string, systemd int) (bool, error) {
	pids, err := processesIn(group)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(pids, func(pid int) bool { return pid != systemd && hears(pid) }), nil
}

// sandbox is the name of the process that does nothing but hold a pod's namespaces.
const sandbox = "pause"

// hears tells whether a process ends by SIGTERM, or does something when it gets it. The first one of a PID namespace gets
// only those signals that it asked for (pid_namespaces(7)).
func hears(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false // it has ended
	}
	field := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		field[name] = strings.TrimSpace(value)
	}
	const term = 1 << (unix.SIGTERM - 1)
	has := func(set string) bool {
		bits, err := strconv.ParseUint(field[set], 16, 64)
		return err == nil && bits&term != 0
	}
	first := strings.HasSuffix(field["NSpid"], "\t1")
	never := strings.HasPrefix(field["State"], "Z") || first && field["Name"] == sandbox
	return !never && (has("SigCgt") || !has("SigIgn") && !first)
}

// Pause freezes all that runs in a machine, whatever group it is in there. It tells whether that ran before.
func (p *Provider) Pause(ctx context.Context, cluster, name string) (bool, error) {
	m, unlock, err := p.existing(ctx, cluster, name)
	if err != nil {
		return false, err
	}
	defer unlock()
	if m.state != Running {
		return false, nil
	}
	if err := p.runc.Pause(ctx, m.id()); err != nil {
		return false, fmt.Errorf("pause machine %q of cluster %q: %w", name, cluster, err)
	}
	return true, nil
}

// Resume lets a machine go on that Pause has frozen. It tells whether that was so.
func (p *Provider) Resume(ctx context.Context, cluster, name string) (bool, error) {
	m, unlock, err := p.existing(ctx, cluster, name)
	if err != nil {
		return false, err
	}
	defer unlock()
	if m.state != Paused {
		return false, nil
	}
	if err := p.runc.Resume(ctx, m.id()); err != nil {
		return false, fmt.Errorf("resume machine %q of cluster %q: %w", name, cluster, err)
	}
	return true, nil
}

// existing looks at a machine that must be recorded, and keeps everybody else away from it.
func (p *Provider) existing(ctx context.Context, cluster, name string) (*Machine, func(), error) {
	if err := checkNames(cluster, name); err != nil {
		return nil, nil, err
	}
	unlock, err := p.lockMachine(ctx, cluster, name)
	if err != nil {
		return nil, nil, err
	}
	s, err := p.loadMachine(cluster, name)
	if err == nil && s == nil {
		err = fmt.Errorf("find machine %q of cluster %q: there is none", name, cluster)
	}
	var m *Machine
	if err == nil {
		m, err = p.machine(ctx, s)
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return m, unlock, nil
}
