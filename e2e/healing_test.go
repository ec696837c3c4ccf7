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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const healLimit = 60 * time.Second

func checkHealing(t *testing.T, c cluster) {
	gone := echoPods(t)[0]
	c.kubectl(t, "delete", "pod", gone, "--wait=false")
	eventually(t, "another pod in its place", healLimit, func() error {
		ready := 0
		for _, name := range echoPods(t) {
			if name == gone {
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

// echoPods are those that nobody has deleted.
func echoPods(t *testing.T) []string {
	t.Helper()
	pods, err := client(t).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=echo"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatal(len(pods.Items), err)
	}
	var names []string
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			names = append(names, p.Name)
		}
	}
	return names
}

func awaitGone(t *testing.T, pods []string) {
	t.Helper()
	for _, name := range pods {
		eventually(t, name+" ended", healLimit, func() error {
			if _, err := client(t).CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is still there: %w", err)
			}
			return nil
		})
	}
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
	awaitGone(t, before) // the load goes on until the last old pod has ended
	_, _ = io.WriteString(stop, "stop\n")
	stop.Close()
	if err := load.Wait(); err != nil || !strings.Contains(out.String(), "lost 0") {
		t.Errorf("requests were lost: %v\n%s", err, out.String())
	}
	t.Log(strings.TrimSpace(out.String()))
}
