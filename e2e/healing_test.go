package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const healLimit = 60 * time.Second

func checkHealing(t *testing.T, c cluster) {
	before := echoPods(t)
	c.kubectl(t, "delete", "pod", before[0], "--wait=false")
	eventually(t, "another pod in its place", healLimit, func() error {
		ready := 0
		for _, name := range echoPods(t) {
			if name == before[0] {
				continue
			}
			pod, err := client(t).CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if podReady(*pod) == nil {
				ready++
			}
		}
		if ready != 3 {
			return fmt.Errorf("%d other pods are Ready, want 3", ready)
		}
		return nil
	})
}

func echoPods(t *testing.T) []string {
	t.Helper()
	pods, err := client(t).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=echo"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatal(len(pods.Items), err)
	}
	var names []string
	for _, p := range pods.Items {
		names = append(names, p.Name)
	}
	return names
}

// checkRollingUpdate replaces all pods while a client asks without a pause; no request may be lost.
func checkRollingUpdate(t *testing.T, c cluster) {
	var out bytes.Buffer
	load := exec.CommandContext(t.Context(), binary(), "kubectl", c.name, "--", "exec", "-i", "probe-1", "--", "/echo", "load", echoURL)
	load.Env, load.Stdout, load.Stderr = os.Environ(), &out, &out
	stop, err := load.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	before := echoPods(t)
	time.Sleep(2 * time.Second)
	c.kubectl(t, "rollout", "restart", "deployment/echo")
	c.kubectl(t, "rollout", "status", "deployment/echo", "--timeout=120s")
	time.Sleep(8 * time.Second) // until the last old pod has ended
	_, _ = io.WriteString(stop, "stop\n")
	stop.Close()
	if err := load.Wait(); err != nil || !strings.Contains(out.String(), "lost 0") {
		t.Errorf("requests were lost: %v\n%s", err, out.String())
	}
	t.Log(strings.TrimSpace(out.String()))
	for _, old := range before {
		for _, name := range echoPods(t) {
			if name == old {
				t.Errorf("pod %q was not replaced", old)
			}
		}
	}
}
