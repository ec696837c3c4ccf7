package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNodes grows a cluster from one control plane to three and a worker, loses the control plane that has the address of the
// API, and shrinks it to a control plane that was not there at the beginning. Programs on this computer and on the worker write all the
// time, and what was acknowledged is there in the end.
func TestNodes(t *testing.T) {
	need(t)
	before := takeInventory(t)
	c := growing{cluster: launch(t, "grow"), dir: t.TempDir()}
	c.group = group{name: c.name}
	buildWriter(t, c.dir)
	c.kubectl(t, "create", "namespace", haNamespace)

	c.isAlone(t, true, "grow-cp-1")
	c.writes(t, c.here(t, "grow", requestLimit), func(w *writing) {
		c.killAdd(t, "static-pods", "--control-plane", "--count", "2") // when the control plane that was alone starts again
		c.startSays(t, "`slipway node add grow --control-plane --count 2`")
		c.killAdd(t, "etcd", "--control-plane", "--count", "2")
		slipwayFails(t, "nodes-joining", "node", "add", c.name)
		c.startSays(t, "`slipway node add grow --control-plane --count 2`")
		added := slipway(t, "node", "add", c.name, "--control-plane", "--count", "2", "--wait", "5m").stdout
		if added != "grow-cp-2\ngrow-cp-3\n" {
			t.Errorf("added %q", added)
		}
	})
	c.isAlone(t, false, "grow-cp-1", "grow-cp-2", "grow-cp-3")
	if out := slipway(t, "node", "add", c.name, "--wait", "5m").stdout; out != "grow-worker-1\n" {
		t.Errorf("added %q", out)
	}
	c.hasNodes(t, "grow-cp-1", "grow-cp-2", "grow-cp-3", "grow-worker-1")
	checkMembers(t, c.cluster)
	if got := c.kubectl(t, "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"); !strings.Contains(got, ".254:6443") {
		t.Errorf("the API is at %s", got)
	}

	c.writes(t, c.here(t, "dies", requestLimit), func(here *writing) {
		c.writes(t, c.there(t, "dies-there"), func(there *writing) { c.killHolder(t, here, there) })
	})
	slipway(t, "up", "--name", c.name, "--egress=false", "--wait", "5m")
	checkMembers(t, c.cluster)
	c.writes(t, c.here(t, "shrink", requestLimit), func(w *writing) {
		for _, gone := range []string{"grow-cp-1", "grow-worker-1", "grow-cp-2"} {
			if gone == "grow-cp-2" {
				c.kill(t, "leave-cluster", "remove", gone) // its member of etcd is removed by then
				c.startSays(t, "`slipway node remove grow grow-cp-2`")
			}
			slipway(t, "node", "remove", c.name, gone, "--wait", "5m")
			w.goesOn(t)
		}
	})
	slipwayFails(t, "last-control-plane", "node", "remove", c.name, "grow-cp-3")
	c.hasNodes(t, "grow-cp-3")
	c.keepsAll(t)
	slipway(t, "up", "--name", c.name, "--egress=false")
	slipway(t, "down", c.name)
	before.compare(t, takeInventory(t))
}

// isAlone looks at what runs whether control planes agree with nobody: etcd elects itself, and controllers lead without a lease.
func (c *growing) isAlone(t *testing.T, want bool, nodes ...string) {
	t.Helper()
	for _, n := range nodes {
		for program, arg := range map[string]string{
			"etcd": "--election-timeout=100", "kube-controller-manager": "--leader-elect=false", "kube-scheduler": "--leader-elect=false",
		} {
			runs := slipway(t, "ssh", c.name, n, "--", "pgrep", "-a", "-f", "^"+program+" ").stdout
			if runs == "" || strings.Contains(runs, arg) != want {
				t.Errorf("alone %v: on %s runs %s", want, n, runs)
			}
		}
	}
}

// growing is a cluster whose nodes come and go.
type growing struct {
	cluster
	group        group // the same machines
	dir          string
	acknowledged *[]string
}

func slipwayFails(t *testing.T, id string, args ...string) {
	t.Helper()
	if r := (invocation{args: args}).run(t); r.code != 1 || !strings.Contains(r.stderr, "error["+id+"]") {
		t.Errorf("want %s: %v", id, r)
	}
}

// writes has a writer at work before, while and after something happens.
func (c *growing) writes(t *testing.T, w *writing, happens func(*writing)) {
	t.Helper()
	w.goesOn(t)
	happens(w)
	w.goesOn(t)
	got := w.end(t)
	if c.acknowledged == nil {
		c.acknowledged = new([]string)
	}
	*c.acknowledged = append(*c.acknowledged, got.acknowledged...)
	if len(got.lost) > 0 {
		t.Errorf("acknowledged and lost: %q", got.lost)
	}
	t.Logf("%d acknowledged, %d failed, longest gap %.1f s", len(got.acknowledged), got.failed, got.gap.Seconds())
}

// here is a writer on this computer, by the cluster's kubeconfig, whose requests may take that long.
func (c *growing) here(t *testing.T, prefix string, timeout time.Duration) *writing {
	t.Helper()
	file := filepath.Join(c.dir, "kubeconfig")
	if err := os.WriteFile(file, []byte(slipway(t, "kubeconfig", c.name).stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	return startWriter(t, timeout, 1, filepath.Join(c.dir, "writer"), file, haNamespace, prefix)
}

// there is a writer on the worker, through the load balancer there, with a client for each API server.
func (c *growing) there(t *testing.T, prefix string) *writing {
	t.Helper()
	const worker, file = "grow-worker-1", "/root/kubeconfig"
	admin := regexp.MustCompile(`server: \S+`).ReplaceAllString(slipway(t, "kubeconfig", c.name).stdout, "server: https://127.0.0.1:6444")
	program, err := os.ReadFile(filepath.Join(c.dir, "writer"))
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{file: admin, "/root/writer": string(program)} {
		r := invocation{
			args:  []string{"ssh", c.name, worker, "--", "install", "-m", "700", "/dev/stdin", path},
			stdin: strings.NewReader(content),
		}.run(t)
		if r.code != 0 {
			t.Fatalf("put %s there: %v", path, r)
		}
	}
	return startWriter(t, requestLimit, 3, binary(), "ssh", c.name, worker, "--", "/root/writer", file, haNamespace, prefix)
}

// killHolder ends all programs of the control plane that has the address, like a loss of power.
func (c *growing) killHolder(t *testing.T, all ...*writing) {
	t.Helper()
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("grow-cp-%d", i)
		if !strings.Contains(slipway(t, "ssh", c.name, name, "--", "ip", "-o", "-4", "address").stdout, ".254/") {
			continue
		}
		t.Logf("%s has the address", name)
		if err := syscall.Kill(c.group.pidOf(t, name), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for _, w := range all {
			w.goesOn(t)
		}
		return
	}
	t.Fatal("nobody has the address")
}

// killAdd ends an addition of nodes as soon as a step has begun on one of them.
func (c *growing) killAdd(t *testing.T, step string, args ...string) {
	t.Helper()
	c.kill(t, step, "add", args...)
}

// kill ends one of the commands for nodes as soon as a step has begun.
func (c *growing) kill(t *testing.T, step, command string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(), append([]string{"node", command, c.name, "-o", "json"}, args...)...)
	at, err := stopAt(cmd, func(s string) bool { return s == step }, func(string) { _ = cmd.Process.Kill() })
	if at == "" || err == nil {
		t.Fatalf("it was not killed: %v", err)
	}
}

// startSays wants that the rest of the cluster is not kept from running by what was interrupted, and that the user learns of that.
func (c *growing) startSays(t *testing.T, want string) {
	t.Helper()
	if r := slipway(t, "start", c.name, "--wait", "5m"); !strings.Contains(r.stderr, want) {
		t.Errorf("start does not say %s: %v", want, r)
	}
}

// hasNodes wants these nodes, and all of them ready.
func (c *growing) hasNodes(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "the nodes are ready", time.Minute, func() error {
		const each = `jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`
		var got []string
		for line := range strings.Lines(c.kubectl(t, "get", "nodes", "-o", each)) {
			if name, ready, _ := strings.Cut(strings.TrimSpace(line), " "); ready == "True" {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%q are, want %q", got, want)
		}
		return nil
	})
}

func (c *growing) keepsAll(t *testing.T) {
	t.Helper()
	there := map[string]bool{}
	for _, name := range strings.Fields(c.kubectl(t, "-n", haNamespace, "get", "configmaps", "-o", "name")) {
		there[strings.TrimPrefix(name, "configmap/")] = true
	}
	lost := slices.DeleteFunc(slices.Clone(*c.acknowledged), func(name string) bool { return there[name] })
	if len(lost) > 0 || len(*c.acknowledged) == 0 {
		t.Errorf("of %d acknowledged writes these are lost: %q", len(*c.acknowledged), lost)
	}
}
