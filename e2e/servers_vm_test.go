package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// vmLimit is for what takes seconds on a processor that is not emulated.
const vmLimit = 3 * time.Minute

// TestServersVM has a server join that shares neither kernel nor clock with the control plane.
func TestServersVM(t *testing.T) {
	need(t)
	needVM(t)
	before := takeInventory(t)
	g := launchMachines(t, "vm", 1)
	buildEcho(t, filepath.Join(g.share, "echo.tar"))
	mustRun(t, "go", "test", "-c", "-o", filepath.Join(g.share, "kmod.test"), "../internal/kmod")
	v := g.addVM(t, 2)
	var join joinCommands
	var host []string
	for _, step := range []struct {
		name  string
		run   func(*testing.T)
		fatal bool
	}{
		{"init", func(t *testing.T) {
			join = checkInit(t, g)
			join.worker += " --wait " + vmCommandLimit.String()
		}, true},
		{"boot", func(t *testing.T) { host = checkBoot(t, g, v) }, true},
		{"clock a day ahead", func(t *testing.T) { checkClock(t, g, join, 24*time.Hour, "preflight-clock", host) }, false},
		{"clock a day behind", func(t *testing.T) { checkClock(t, g, join, -24*time.Hour, "clock-skew", host) }, false},
		{"join", func(t *testing.T) { checkJoinVM(t, g, join) }, true},
		{"pods", func(t *testing.T) { checkPodsVM(t, g) }, false},
		{"clock jumps", func(t *testing.T) { checkClockJumps(t, g) }, false},
		{"reset", func(t *testing.T) { checkResetVM(t, g, host) }, false},
	} {
		if !t.Run(step.name, step.run) && step.fatal {
			t.FailNow()
		}
	}
	v.remove(t)
	slipway(t, "down", g.name)
	before.compare(t, takeInventory(t))
}

// checkBoot starts the server a day ahead, makes sure that it is what this test is for, and gives its inventory.
func checkBoot(t *testing.T, g group, v *virtualMachine) []string {
	v.boot(t, time.Now().Add(24*time.Hour))
	g.must(t, 2, "systemctl is-system-running --wait; udevadm settle")
	out := g.must(t, 2, "stat -f -c %T /sys/fs/cgroup; uname -r; systemd-detect-virt; systemctl --failed --no-legend")
	t.Log(out)
	if found := strings.Fields(out); len(found) != 3 || found[0] != "cgroup2fs" || !strings.HasSuffix(found[1], "-cloud-amd64") || found[2] != "qemu" {
		t.Fatalf("control groups, kernel, kind of machine, failed units: %q", out)
	}
	t.Log(g.must(t, 2, "SLIPWAY_TEST_KERNEL=own /media/share/kmod.test -test.v"))
	g.must(t, 2, "nft list ruleset; ipset list -n") // as the inventory does: the kernel loads what they are made of
	return g.inventory(t, 2)
}

// clockOf tells how far a server's clock is from this computer's.
func clockOf(t *testing.T, g group, i int) time.Duration {
	t.Helper()
	var seconds int64
	if _, err := fmt.Sscan(g.must(t, i, "date +%s"), &seconds); err != nil {
		t.Fatal(err)
	}
	return time.Until(time.Unix(seconds, 0))
}

func setClock(t *testing.T, g group, i int, off time.Duration) {
	t.Helper()
	g.must(t, i, fmt.Sprintf("date -s @%d", time.Now().Add(off).Unix()))
}

// checkClock: with a clock that is wrong, nothing is written, and both times are in the error.
func checkClock(t *testing.T, g group, join joinCommands, off time.Duration, want string, host []string) {
	if off < 0 {
		setClock(t, g, 2, off)
	}
	if is := clockOf(t, g, 2); (is - off).Abs() > time.Minute {
		t.Fatalf("the clock is %v off, and should be %v", is, off)
	}
	r := g.on(t, 2, join.worker)
	if r.code != 1 || strings.Count(r.stderr, "error[") != 1 || !strings.Contains(r.stderr, "error["+want+"]") {
		t.Errorf("exit code %d, want the error %s: %v", r.code, want, r)
	}
	now := time.Now().UTC()
	for _, part := range []string{now.Format(time.DateOnly), now.Add(off).Format(time.DateOnly), "set the clock"} {
		if !strings.Contains(r.stderr, part) {
			t.Errorf("the error does not say %q: %s", part, r.stderr)
		}
	}
	t.Log(r.stderr)
	g.sameHost(t, 2, host)
}

// checkJoinVM: with the right clock, the same command succeeds.
func checkJoinVM(t *testing.T, g group, join joinCommands) {
	setClock(t, g, 2, 0)
	r := g.on(t, 2, join.worker)
	if r.code != 0 {
		t.Fatal(r)
	}
	t.Log(r.stderr)
	checkServersWithin(t, g, 2, vmLimit)
	kernel := strings.TrimSpace(g.must(t, 2, "uname -r"))
	if out := g.kubectl(t, 1, "get node "+g.machine(2)+" -o jsonpath={.status.nodeInfo.kernelVersion}"); out != kernel {
		t.Errorf("the Node's kernel is %q, and should be %q", out, kernel)
	}
	// With version 2 of control groups, systemd has them, and kubelet and containerd know.
	g.must(t, 2, `grep -qx 'cgroupDriver: systemd' /var/lib/kubelet/config.yaml && grep -q 'SystemdCgroup = true' /etc/containerd/config.toml
		test -d /sys/fs/cgroup/kubepods.slice && ! test -e /sys/fs/cgroup/kubepods`)
	if out := g.must(t, 2, "slipway status"); !strings.Contains(out, g.machine(2)) {
		t.Errorf("status: %s", out)
	}
	t.Log(g.must(t, 2, "slipway doctor"))
	if out := g.must(t, 2, join.worker); !strings.Contains(out, "nothing was changed") {
		t.Errorf("joined again, it says %q", out)
	}
}

// vmEcho is a server on each node behind one service, whose pods ask each other.
const vmEcho = `
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{port: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: echo-1, labels: {app: echo}}
spec:
  nodeName: vm-1
  terminationGracePeriodSeconds: 1
  containers:
  - {name: echo, image: slipway.test/echo:1, imagePullPolicy: Never, args: [serve]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo-2, labels: {app: echo}}
spec:
  nodeName: vm-2
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: slipway.test/echo:1
    imagePullPolicy: Never
    args: [serve]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
`

// checkPodsVM: pods on both sides reach each other by the service's name, and limits hold.
func checkPodsVM(t *testing.T, g group) {
	for i := 1; i <= 2; i++ {
		g.must(t, i, "ctr -n k8s.io images import /media/share/echo.tar")
	}
	g.must(t, 1, "cat > /run/echo.yaml <<'END'\n"+vmEcho+"END\nkubectl --kubeconfig /etc/kubernetes/admin.conf apply -f /run/echo.yaml && rm /run/echo.yaml")
	g.kubectl(t, 1, "wait pod -l app=echo --for=condition=Ready --timeout="+vmLimit.String())
	checkEchoVM(t, g, "echo-1", "echo-2")
	if out := g.must(t, 2, `cat $(find /sys/fs/cgroup/kubepods.slice -path '*cri-containerd*' -name memory.max)`); !strings.Contains(out, "67108864\n") {
		t.Errorf("no container has a limit of 64 MiB: %s", out)
	}
}

// checkEchoVM: each of these gets answers of both.
func checkEchoVM(t *testing.T, g group, pods ...string) {
	t.Helper()
	for _, pod := range pods {
		seen := map[string]bool{}
		eventually(t, "both answer "+pod, vmLimit, func() error {
			r := g.on(t, 1, "kubectl --kubeconfig /etc/kubernetes/admin.conf exec "+pod+" -- /echo get "+echoURL)
			if r.code != 0 {
				return fmt.Errorf("exit code %d: %s", r.code, r.stderr)
			}
			seen[strings.TrimSpace(r.stdout)] = true
			if len(seen) < 2 {
				return fmt.Errorf("only %v answered", seen)
			}
			return nil
		})
	}
}

// checkClockJumps turns the clock of a node under its pods. They go on, the doctor says what is wrong, and all is well again
// with the right time.
func checkClockJumps(t *testing.T, g group) {
	defer setClock(t, g, 2, 0)
	for _, jump := range []struct {
		off  time.Duration
		says []string
	}{
		{-24 * time.Hour, []string{"not-yet-valid", "set the clock"}},
		{24*time.Hour + 30*time.Minute, []string{"the clock of this host is 24h", "set the clock"}},
	} {
		setClock(t, g, 2, jump.off)
		checkEchoVM(t, g, "echo-1") // into the other no `kubectl exec` leads while its kubelet takes nobody's certificate for valid
		r := g.on(t, 2, "slipway doctor")
		for _, part := range jump.says {
			if r.code != 1 || !strings.Contains(r.stdout, part) {
				t.Errorf("%v off, the doctor does not say %q, exit code %d: %v", jump.off, part, r.code, r)
			}
		}
		setClock(t, g, 2, 0)
		begin := time.Now()
		eventually(t, "all is well", vmLimit, func() error {
			if r := g.on(t, 2, "slipway doctor"); r.code != 0 {
				return fmt.Errorf("exit code %d: %v", r.code, r)
			}
			return nil
		})
		checkServersWithin(t, g, 2, vmLimit)
		checkEchoVM(t, g, "echo-1", "echo-2")
		t.Logf("%v off and back: well again after %.1f s", jump.off, time.Since(begin).Seconds())
	}
}

// checkResetVM: the server leaves with its pods running, and is as it was.
func checkResetVM(t *testing.T, g group, host []string) {
	g.must(t, 2, "slipway reset")
	g.sameHost(t, 2, host)
	if out := g.kubectl(t, 1, "get nodes -o name"); strings.TrimSpace(out) != "node/"+g.machine(1) {
		t.Errorf("nodes: %s", out)
	}
}
