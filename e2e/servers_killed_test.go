package e2e_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServersKilled ends init and join at the start of every step in turn, with SIGKILL, and with the whole machine;
// the same command then goes on, and in the end there is one good cluster.
func TestServersKilled(t *testing.T) {
	need(t)
	before := takeInventory(t)
	g := launchMachines(t, "kill", 4)
	hosts := map[int][]string{}
	for i := 1; i <= 4; i++ {
		hosts[i] = g.inventory(t, i)
	}
	t.Run("init", func(t *testing.T) {
		g.killAtEveryStep(t, 1, initCommand, never)
		g.must(t, 1, "slipway reset")
		g.sameHost(t, 1, hosts[1], auditLog)
	})
	if !t.Run("init without power", func(t *testing.T) { g.killAtEveryStep(t, 1, initCommand, always) }) {
		t.FailNow()
	}
	join := readJoin(t, g)
	// Two members of etcd are both needed. So the second only loses its program, and the third the power: the other two go on.
	for _, j := range []struct {
		i         int
		command   string
		powerLoss func(string) bool
	}{
		{2, join.controlPlane, never}, {3, join.controlPlane, always}, {4, join.worker, sometimes},
	} {
		if !t.Run(fmt.Sprint("join ", j.i), func(t *testing.T) { g.killAtEveryStep(t, j.i, j.command, j.powerLoss) }) {
			t.FailNow()
		}
	}
	checkServers(t, g, 4)
	checkEtcd(t, g, 3)
	t.Run("reset", func(t *testing.T) {
		for i := 4; i >= 1; i-- {
			g.killAtEveryStep(t, i, "slipway reset", sometimes)
			g.sameHost(t, i, hosts[i], auditLog)
		}
	})
	slipway(t, "down", g.name)
	before.compare(t, takeInventory(t))
}

// readJoin makes new commands to join with: init was killed before it could print any.
func readJoin(t *testing.T, g group) joinCommands {
	t.Helper()
	const bundle = " --bundle /media/bundle"
	return joinCommands{
		worker:       strings.TrimSpace(g.must(t, 1, "slipway token create --print-join-command")) + bundle,
		controlPlane: strings.TrimSpace(g.must(t, 1, "slipway token create --print-join-command --upload-certs")) + bundle,
	}
}

// The steps at which the machine ends, not only the program.
func never(string) bool  { return false }
func always(string) bool { return true }
func sometimes(step string) bool {
	return slices.Contains([]string{"certificates", "images", "api", "restore"}, step)
}

// killAtEveryStep runs the command again and again, each time until a step begins that it has not been killed at yet.
func (g group) killAtEveryStep(t *testing.T, i int, command string, powerLoss func(step string) bool) {
	t.Helper()
	killed := map[string]bool{}
	for range 100 {
		step := g.killAtNew(t, i, command, killed, powerLoss)
		if step == "" {
			t.Logf("%s: killed at %d steps", command[:min(len(command), 20)], len(killed))
			if len(killed) < 5 {
				t.Errorf("it was killed at %v only", killed)
			}
			return
		}
		killed[step] = true
	}
	t.Fatalf("it does not come to an end: killed at %v", killed)
}

// killAtNew gives the step at which the command was killed, or nothing if it came to its end.
func (g group) killAtNew(
	t *testing.T, i int, command string, killed map[string]bool, powerLoss func(step string) bool,
) (at string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(), "ssh", g.name, g.machine(i), "--", "sh", "-c",
		"echo $$ > /root/under-test; exec "+command+" -o json")
	var said bytes.Buffer // on each kill something fails: only what it says at the end is of interest
	cmd.Stderr = &said
	at, err := stopAt(cmd, func(step string) bool { return !killed[step] }, func(step string) {
		if powerLoss(step) {
			g.kill(t, i) // the connection ends with the machine
		} else {
			g.on(t, i, "kill -9 $(cat /root/under-test)") // it may just have come to its end
		}
	})
	if at == "" && err != nil {
		t.Fatalf("it failed after it was killed at %v: %v\n%s", killed, err, &said)
	}
	if at != "" && powerLoss(at) {
		eventually(t, "the machine has stopped", time.Minute, func() error {
			if out := slipway(t, "list").stdout; !strings.Contains(out, "partly running") {
				return fmt.Errorf("it says %q", out)
			}
			return nil
		})
		g.startAgain(t)
	}
	if err == nil { // it came to its end, perhaps before it could be killed
		return ""
	}
	return at
}

// kill ends a machine, which has no time to write anything.
func (g group) kill(t *testing.T, i int) {
	t.Helper()
	if err := syscall.Kill(g.pid(t, i), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// startAgain starts machines that do not run.
func (g group) startAgain(t testing.TB) {
	t.Helper()
	slipway(t, append([]string{"machines", "up"}, g.flags...)...)
}
