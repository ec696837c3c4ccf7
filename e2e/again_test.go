package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestControlPlanes launches three control planes, stops the machine of one, and launches again.
func TestControlPlanes(t *testing.T) {
	need(t)
	before := takeInventory(t)
	h := launch(t, "ha", "--control-planes", "3")
	checkMembers(t, h)
	slipway(t, "ssh", h.name, "ha-cp-3", "--", "systemctl", "poweroff")
	eventually(t, "the machine has stopped", time.Minute, func() error {
		if out := slipway(t, "list").stdout; !strings.Contains(out, "partly running") {
			return fmt.Errorf("it says %q", out)
		}
		return nil
	})
	if got := h.kubectl(t, "get", "--raw", "/readyz"); got != "ok" {
		t.Errorf("with two of three members the API says %q", got)
	}
	slipway(t, "up", "--name", h.name, "--control-planes", "3", "--egress=false")
	checkMembers(t, h)
	slipway(t, "down", h.name)
	before.compare(t, takeInventory(t))
}

func checkMembers(t *testing.T, c cluster) {
	t.Helper()
	const pki = "/etc/kubernetes/pki/etcd/"
	eventually(t, "three healthy members of etcd", time.Minute, func() error {
		r := invocation{args: []string{"ssh", c.name, c.name + "-cp-1", "--", "etcdctl", "--endpoints=https://127.0.0.1:2379",
			"--cacert=" + pki + "ca.crt", "--cert=" + pki + "healthcheck-client.crt", "--key=" + pki + "healthcheck-client.key",
			"endpoint", "health", "--cluster"}}.run(t)
		if n := strings.Count(r.stdout, "is healthy"); r.code != 0 || n != 3 {
			return fmt.Errorf("%d are: %v", n, r)
		}
		return nil
	})
	nodes, err := client(t).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: "node-role.kubernetes.io/control-plane"})
	if err != nil || len(nodes.Items) != 3 {
		t.Fatalf("%d control planes: %v", len(nodes.Items), err)
	}
	for _, n := range nodes.Items {
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status != corev1.ConditionTrue {
				t.Errorf("%s is not ready: %s", n.Name, cond.Message)
			}
		}
		for _, taint := range n.Spec.Taints {
			if strings.HasPrefix(taint.Key, "node-role.") { // those of a node's condition come and go
				t.Errorf("%s, in a cluster without workers, has the taint %v", n.Name, taint)
			}
		}
	}
}

// TestInterrupted stops launches at several steps; the same command goes on, and `down` removes what is half made.
func TestInterrupted(t *testing.T) {
	need(t)
	before := takeInventory(t)
	t.Cleanup(func() { _ = exec.Command(binary(), "down", "cut").Run() }) // if this test ended early
	for _, step := range []string{"machine", "containerd", "api"} {
		interruptAfter(t, step, "up", "--name", "cut", "--egress=false", "-o", "json")
	}
	slipway(t, "up", "--name", "cut", "--egress=false", "--wait", "5m")
	cluster{name: "cut"}.kubectl(t, "wait", "node", "--all", "--for=condition=Ready", "--timeout=1s")
	slipway(t, "down", "cut")
	before.compare(t, takeInventory(t))
	interruptAfter(t, "static-pods", "up", "--name", "cut", "--egress=false", "-o", "json")
	checkDownAgain(t, "cut")
	before.compare(t, takeInventory(t))
}

// checkDownAgain lets a removal fail at its end; the same command then completes it, and nothing else is done meanwhile.
func checkDownAgain(t *testing.T, name string) {
	t.Helper()
	broken := invocation{args: []string{"down", name}}
	withKubeconfig("{ not: [yaml")(t, &broken)
	refusal{id: "kubeconfig-unreadable"}.check(t, broken.run(t))
	refusal{id: "cluster-removing"}.check(t, invocation{args: []string{"up", "--name", name, "--egress=false"}}.run(t))
	slipway(t, "down", name)
}

// interruptAfter runs a launch and sends it ^C as soon as that step has ended.
func interruptAfter(t *testing.T, step string, args ...string) {
	t.Helper()
	cmd := exec.Command(binary(), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := false
	for s := bufio.NewScanner(out); s.Scan(); {
		var e struct{ Step, State string }
		if json.Unmarshal(s.Bytes(), &e) == nil && e.Step == step && (e.State == "done" || e.State == "unchanged") && !seen {
			seen = true
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); !seen || code != 130 {
		t.Errorf("interrupted after %q (seen: %v): exit code %d, want 130", step, seen, code)
	}
}
