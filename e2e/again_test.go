package e2e_test

import (
	"fmt"
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
	checkMembersFrom(t, c, c.name+"-cp-1")
}

// checkMembersFrom asks one of them.
func checkMembersFrom(t *testing.T, c cluster, machine string) {
	t.Helper()
	const pki = "/etc/kubernetes/pki/etcd/"
	eventually(t, "three healthy members of etcd", time.Minute, func() error {
		r := invocation{args: []string{"ssh", c.name, machine, "--", "etcdctl", "--endpoints=https://127.0.0.1:2379",
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
