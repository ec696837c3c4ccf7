package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	readyLimit    = 3 * time.Minute
	restartWindow = 60 * time.Second
)

func checkReady(t *testing.T, c cluster) {
	checkNodes(t, 3, "v1.37.")
	eventually(t, "kube-system pods Ready", readyLimit, func() error { return systemPodsReady(t) })
	t.Log(c.kubectl(t, "get", "nodes,pods", "-A", "-o", "wide"))
}

// checkPlugin wants that the network's plugin is where all machines share it, and that no pod puts it there.
func checkPlugin(t *testing.T, c cluster) {
	pods, err := client(t).CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=calico-node"})
	if err != nil || len(pods.Items) != 3 {
		t.Fatalf("%d pods of Calico's: %v", len(pods.Items), err)
	}
	for _, p := range pods.Items {
		if n := len(p.Spec.InitContainers); n > 0 {
			t.Errorf("pod %s has %d init containers", p.Name, n)
		}
		const look = "stat -c %h /opt/cni/bin/calico; stat -c %a /etc/cni/net.d/calico-kubeconfig; ls /etc/cni/net.d; ls -d /run/calico/*/"
		want := []string{"2", "600", "10-calico.conflist", "calico-kubeconfig", "/run/calico/endpoint-status/"} // 2 names of one file: a copy has 1
		got := strings.Fields(slipway(t, "ssh", c.name, p.Spec.NodeName, "--", "sh", "-c", look).stdout)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", p.Spec.NodeName, got, want)
		}
	}
}

// checkNodes waits until so many nodes are Ready, each with a real version that begins with prefix.
func checkNodes(t *testing.T, want int, prefix string) {
	t.Helper()
	api := client(t).CoreV1().Nodes()
	eventually(t, "nodes Ready", readyLimit, func() error {
		nodes, err := api.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(nodes.Items) != want {
			return fmt.Errorf("%d nodes, want %d", len(nodes.Items), want)
		}
		for _, n := range nodes.Items {
			if err := nodeReady(n, prefix); err != nil {
				return err
			}
		}
		return nil
	})
}

func nodeReady(n corev1.Node, prefix string) error {
	if v := n.Status.NodeInfo.KubeletVersion; !strings.HasPrefix(v, prefix) {
		return fmt.Errorf("node %q has version %q, want %s*", n.Name, v, prefix)
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("node %q is not Ready: %s", n.Name, c.Message)
		}
	}
	return fmt.Errorf("node %q says nothing of being Ready", n.Name)
}

func systemPodsReady(t *testing.T) error {
	t.Helper()
	pods, err := client(t).CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, p := range pods.Items {
		if err := podReady(p); err != nil {
			return err
		}
		for _, c := range p.Spec.Containers {
			have[c.Name] = true
		}
	}
	for _, name := range []string{
		"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns",
		"calico-node", "calico-kube-controllers",
	} {
		if !have[name] {
			return fmt.Errorf("no pod has a container %q", name)
		}
	}
	return nil
}

func podReady(p corev1.Pod) error {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("pod %q on %q is not Ready: %s", p.Name, p.Spec.NodeName, p.Status.Phase)
}

// checkNoRestarts watches all pods of the system for a minute; none may restart, vanish or stop being Ready.
func checkNoRestarts(t *testing.T, c cluster) {
	before := restarts(t)
	for deadline := time.Now().Add(restartWindow); time.Now().Before(deadline); time.Sleep(2 * time.Second) {
		after := restarts(t)
		for container, n := range before {
			if m, ok := after[container]; !ok || m != n {
				t.Fatalf("%s restarted: %d times before, %d after\n%s", container, n, m, c.kubectl(t, "get", "pods", "-A"))
			}
		}
		if err := systemPodsReady(t); err != nil {
			t.Fatal(err)
		}
	}
}

func restarts(t *testing.T) map[string]int32 {
	t.Helper()
	pods, err := client(t).CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int32{}
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			out[p.Name+"/"+s.Name] = s.RestartCount
		}
	}
	return out
}
