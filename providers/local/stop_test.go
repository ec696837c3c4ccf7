package local_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/slipway/providers/local"
)

const longGrace = time.Minute

// TestPower stops a machine in good order, starts it with what was on it, and freezes it with all that runs in it.
func TestPower(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	h.ensure(t, network("lt-power", 0))
	h.create(t, h.spec("lt-power", "one", 2))

	t.Run("pause", func(t *testing.T) { testPause(t, h) })
	t.Run("stop", func(t *testing.T) { testStop(t, h) })
	t.Run("nobody who hears", func(t *testing.T) {
		// The first process of a namespace ends by a signal only if it wants to; the kernel does not even tell it.
		// unshare itself keeps signals for later, so it goes.
		shell(t, h.one(t), `setsid unshare --pid --fork sleep 4321 </dev/null >/dev/null 2>&1 & until pgrep -x sleep; do sleep 0.01; done; kill -9 $!
			setsid sh -c 'trap "" TERM; sleep 4321' </dev/null >/dev/null 2>&1 &`)
		if took := h.stopAndStart(t, longGrace); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("grace", func(t *testing.T) {
		shell(t, h.one(t), `setsid sh -c 'trap : TERM; while :; do sleep 1; done' </dev/null >/dev/null 2>&1 &`)
		if took := h.stopAndStart(t, 3*time.Second); took < 3*time.Second || took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("stop when paused", func(t *testing.T) {
		h.change(t, h.Pause, true)
		h.stopAndStart(t, longGrace)
	})

	h.change(t, h.Pause, true)
	h.down(t, "lt-power", "one") // frozen as it is
	before.compare(t, takeTraces(t, h))
}

// testPause has a process at work in groups of its own, as those of pods are.
func testPause(t *testing.T, h *host) {
	t.Helper()
	shell(t, h.one(t), `cat >/root/tick <<'EOF'
for d in $(findmnt -rn -t cgroup,cgroup2 -o TARGET); do
  mkdir -p $d/kubepods/pod
  case $d in */cpuset) cat $d/cpuset.cpus >$d/kubepods/cpuset.cpus; cat $d/cpuset.mems >$d/kubepods/cpuset.mems
    cat $d/cpuset.cpus >$d/kubepods/pod/cpuset.cpus; cat $d/cpuset.mems >$d/kubepods/pod/cpuset.mems;; esac
  echo $$ >$d/kubepods/pod/cgroup.procs
done
while :; do echo tick >>/root/ticks; sleep 0.02; done
EOF
setsid sh /root/tick </dev/null >/dev/null 2>&1 &`)
	h.ticksAgain(t)
	h.change(t, h.Pause, true)
	frozen := h.ticks(t)
	h.change(t, h.Pause, false)
	if m, err := h.Create(t.Context(), h.spec("lt-power", "one", 2)); err != nil || m.State() != local.Paused {
		t.Errorf("made again it is %v, %v", m.State(), err)
	}
	time.Sleep(300 * time.Millisecond)
	if now := h.ticks(t); now != frozen {
		t.Errorf("it wrote %d bytes while it was paused", now-frozen)
	}
	h.change(t, h.Resume, true)
	h.ticksAgain(t)
	h.change(t, h.Resume, false)
}

func (h *host) ticks(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(h.inside("root/ticks"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func (h *host) ticksAgain(t *testing.T) {
	t.Helper()
	before := h.ticks(t)
	for deadline := time.Now().Add(10 * time.Second); h.ticks(t) == before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not go on")
		}
	}
}

// inside is where a machine's own file lies on this computer.
func (h *host) inside(path string) string {
	return filepath.Join(h.config.StateDir, "clusters/lt-power/machines/one/upper", path)
}

// testStop gives a service the time that it needs.
func testStop(t *testing.T, h *host) {
	t.Helper()
	shell(t, h.one(t), `systemd-run --quiet --unit=polite --property='ExecStop=sh -c "sleep 1; echo bye >/root/bye"' sleep 4321`)
	if took := h.stopAndStart(t, longGrace); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := shell(t, h.one(t), "cat /root/bye"); got != "bye" {
		t.Errorf("the service wrote %q", got)
	}
}

// stopAndStart gives how long the machine took to stop.
func (h *host) stopAndStart(t *testing.T, grace time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	ran, err := h.Stop(t.Context(), "lt-power", "one", grace)
	took := time.Since(begin)
	if err != nil || !ran {
		t.Fatal(ran, err)
	}
	t.Logf("stopped in %v", took.Round(time.Millisecond))
	if m := h.one(t); m.State() != local.Stopped || m.Pid() != 0 {
		t.Errorf("it is %s", m.State())
	}
	if left := find(t, "/sys/fs/cgroup", "-type", "d", "-path", "*/slipway/lt-power/one"); len(left) > 1 || left[0] != "" {
		t.Errorf("left behind: %q", left)
	}
	if ran, err := h.Stop(t.Context(), "lt-power", "one", grace); err != nil || ran {
		t.Errorf("again: %v, %v", ran, err)
	}
	hosts := map[string]netip.Addr{"came-later": netip.MustParseAddr("10.91.0.77")}
	if _, err := h.Start(t.Context(), "lt-power", "one", hosts); err != nil {
		t.Fatal(err)
	}
	if got := shell(t, h.one(t), "getent hosts came-later"); got != "10.91.0.77      came-later" {
		t.Errorf("a machine that was added meanwhile is known as %q", got)
	}
	if m := h.one(t); !m.Running() || time.Since(m.Started()) > time.Minute {
		t.Errorf("it is %s since %v", m.State(), m.Started())
	}
	return took
}

func (h *host) one(t *testing.T) *local.Machine {
	t.Helper()
	all, err := h.List(t.Context(), "lt-power")
	if err != nil || len(all) != 1 {
		t.Fatal(len(all), err)
	}
	return all[0]
}

func (h *host) change(t *testing.T, do func(ctx context.Context, cluster, name string) (bool, error), want bool) {
	t.Helper()
	if changed, err := do(t.Context(), "lt-power", "one"); err != nil || changed != want {
		t.Fatalf("changed: %v, %v", changed, err)
	}
}
