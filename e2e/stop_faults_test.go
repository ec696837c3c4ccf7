package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStopStartHA stops three control planes in good order and by a restart of the computer, and starts them.
func TestStopStartHA(t *testing.T) {
	need(t)
	before := takeInventory(t)
	c := launch(t, "halt3", "--control-planes", "3")
	c.startWork(t)
	begin := time.Now()
	slipway(t, "stop", c.name)
	t.Logf("stop took %.1f s", time.Since(begin).Seconds())
	c.startAgain(t)
	reboot(t, c.name, before)
	checkState(t, c.name, "stopped")
	c.startAgain(t)
	slipway(t, "down", c.name)
	before.compare(t, takeInventory(t))
}

func (c cluster) startAgain(t *testing.T) {
	t.Helper()
	begin := time.Now()
	r := slipway(t, "start", c.name, "-o", "json")
	t.Logf("start took %.1f s", time.Since(begin).Seconds())
	logSteps(t, r.stdout)
	c.isBack(t, begin)
	checkMembers(t, c)
}

// reboot leaves of a cluster what a restart of the computer leaves: files. That this is so is looked at too.
func reboot(t *testing.T, name string, before inventory) {
	t.Helper()
	machines := clusterMachines(t, name)
	for _, m := range machines {
		if err := syscall.Kill(m.Pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all processes have ended", time.Minute, func() error {
		if left := takeInventory(t)["processes"]; len(left) > 0 {
			return fmt.Errorf("%d are left", len(left))
		}
		return nil
	})
	script := `set -e
grep -o ' /[^ ]*'"$HOME_OF_CLUSTER"'/[^ ]*' /proc/self/mountinfo | sort -r | xargs -r umount
for link in $(ip -o link show type bridge | sed 's/^[0-9]*: \([^:@]*\).*/\1/') $(ip -o link show type veth | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do
  ip link delete "$link"
done
ip route flush type blackhole
nft flush ruleset
find /sys/fs/cgroup -depth -type d \( -path "*/slipway/$NAME/*" -o -path "*/slipway/$NAME" \) -exec rmdir {} +
rm -r "$SLIPWAY_RUN"
for m in $MACHINES; do ip netns delete "slipway-$NAME.$m"; done
`
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "NAME="+name, "HOME_OF_CLUSTER=/state/clusters/"+name)
	var names []string
	for _, m := range machines {
		names = append(names, m.Name())
	}
	cmd.Env = append(cmd.Env, "MACHINES="+strings.Join(names, " "))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	now := takeInventory(t)
	for kind := range before {
		if kind != "files" && kind != "parents" {
			inventory{kind: before[kind]}.compare(t, now)
		}
	}
}

// checkPowerKilled kills each command as soon as it has begun, and then as soon as a machine is done with; the same command
// run again does what it should.
func checkPowerKilled(t *testing.T, c cluster) {
	for _, at := range []string{"started", "done"} {
		for _, step := range []struct{ command, state string }{
			{"stop", "stopped"}, {"start", "running"}, {"pause", "paused"}, {"resume", "running"}, {"restart", "running"},
		} {
			killWhen(t, at, step.command, c.name, "-o", "json")
			begin := time.Now()
			slipway(t, step.command, c.name)
			t.Logf("%s, killed when a step had %s: again %.1f s", step.command, at, time.Since(begin).Seconds())
			checkState(t, c.name, step.state)
		}
	}
	c.kubectl(t, "get", "--raw", "/readyz")
}

// killWhen ends a command the hard way at its first event of that state.
func killWhen(t *testing.T, state string, args ...string) {
	t.Helper()
	killAtEvent(t, state, "", args...)
}
