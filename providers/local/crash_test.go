package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/providers/local"
)

// createAndDie makes this binary a program that only makes a machine, for a test to kill.
const createAndDie = "SLIPWAY_TEST_CREATE"

// order is what that program gets, as JSON.
type order struct {
	Config  local.Config
	Network local.Network
	Spec    local.MachineSpec
}

func createFor(text string) int {
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		p := local.New(o.Config)
		if err = p.EnsureNetwork(context.Background(), o.Network); err == nil {
			_, err = p.Create(context.Background(), o.Spec)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestKilledInTheMiddle kills the program that makes a machine at many moments. Each time Delete
// must take back all there is; every other time Create first makes the machine whole.
func TestKilledInTheMiddle(t *testing.T) {
	h := newHost(t)
	o := order{h.config, network("lt-crash", 0), h.spec("lt-crash", "one", 2)}
	before := takeTraces(t, h)
	for i, after := range []int{1, 3, 6, 10, 15, 20, 25, 30, 40, 50, 60, 80, 120, 200} {
		t.Run(fmt.Sprintf("%dms", after), func(t *testing.T) {
			kill(t, o, time.Duration(after)*time.Millisecond)
			if i%2 == 1 {
				h.ensure(t, o.Network)
				m := h.create(t, o.Spec)
				if got := shell(t, m, "systemctl is-system-running"); got != "running" {
					t.Errorf("got %q", got)
				}
			}
			h.downAll(t, "lt-crash")
			before.compare(t, takeTraces(t, h))
		})
	}
}

func kill(t *testing.T, o order, after time.Duration) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), createAndDie+"="+string(text))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Its work begins when it has made its directory; starting the process is no part of it.
	for range 1000 {
		if _, err := os.Stat(o.Config.RunDir); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// TestHalfIsMissing takes one thing after another away behind the provider's back.
func TestHalfIsMissing(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	home := filepath.Join(h.config.StateDir, "clusters/lt-half/machines/one")
	for name, damage := range map[string]func() error{
		"record":    func() error { return os.Remove(filepath.Join(home, "machine.json")) },
		"runc":      func() error { return os.RemoveAll(filepath.Join(h.config.RunDir, "runc")) },
		"run":       func() error { return os.RemoveAll(h.config.RunDir) },
		"root":      func() error { return unix.Unmount(filepath.Join(home, "rootfs"), unix.MNT_DETACH) },
		"namespace": func() error { return exec.Command("ip", "netns", "delete", "slipway-lt-half.one").Run() },
		"process":   func() error { return exec.Command("sh", "-c", "kill -9 $(cat "+home+"/runc/pid)").Run() },
	} {
		t.Run(name, func(t *testing.T) {
			h.ensure(t, network("lt-half", 0))
			h.create(t, h.spec("lt-half", "one", 2))
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			h.down(t, "lt-half", "one")
			before.compare(t, takeTraces(t, h))
		})
	}
}

// TestKilledAtTheLock has the program die when all there is of a machine is the file of its lock.
func TestKilledAtTheLock(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	h.ensure(t, network("lt-lock", 0))
	lock := filepath.Join(h.config.RunDir, "locks", "slipway-lt-lock.one")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.downAll(t, "lt-lock")
	before.compare(t, takeTraces(t, h))
}

// TestStartAgain is what happens after a restart of the computer: files stay, all else is gone.
func TestStartAgain(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	h.ensure(t, network("lt-again", 0))
	m := h.create(t, h.spec("lt-again", "one", 2))
	shell(t, m, "echo kept >/root/file")
	if err := unix.Kill(m.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for { // the kill takes effect some time after it returns
		list, err := h.List(t.Context(), "lt-again")
		if err != nil {
			t.Fatal(err)
		}
		if !list[0].Running() {
			break
		}
	}
	again := h.create(t, h.spec("lt-again", "one", 2))
	if got := shell(t, again, "cat /root/file"); got != "kept" {
		t.Errorf("got %q", got)
	}
	if string(again.HostKey().Marshal()) != string(m.HostKey().Marshal()) {
		t.Error("it has another host key")
	}
	h.down(t, "lt-again", "one")
	before.compare(t, takeTraces(t, h))
}

// TestBrokenInit has a PID 1 that gives up: Create must say so and not wait for ever.
func TestBrokenInit(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	h.ensure(t, network("lt-broken", 0))
	layer := filepath.Join(h.rootfs, "..", "broken")
	if err := os.MkdirAll(filepath.Join(layer, "usr/sbin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(layer, "usr/sbin/init"), []byte("#!/bin/sh\necho no such day; exit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := h.spec("lt-broken", "one", 2)
	spec.Layers = append([]string{layer}, spec.Layers...)
	_, err := h.Create(t.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), "no such day") {
		t.Errorf("got %v", err)
	}
	h.down(t, "lt-broken", "one")
	before.compare(t, takeTraces(t, h))
}

// TestCancelledCreate ends the context of Create at some moments; Delete takes the rest.
func TestCancelledCreate(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	for _, after := range []time.Duration{5 * time.Millisecond, 40 * time.Millisecond, 150 * time.Millisecond} {
		h.ensure(t, network("lt-cancel", 0))
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, err := h.Create(ctx, h.spec("lt-cancel", "one", 2))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s: got %v", after, err)
		}
		h.down(t, "lt-cancel", "one")
		before.compare(t, takeTraces(t, h))
	}
}
