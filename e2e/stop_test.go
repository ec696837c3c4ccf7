package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/providers/local"
)

const stopLimit = 12 * time.Second

// workManifest is a program that writes down its beginning and, when it is told to end, its end, on its node's disk; one
// that does not listen, of which there are many; and one that never was ready, for which no start waits.
const workManifest = `
apiVersion: v1
kind: ConfigMap
metadata: {name: kept}
data: {key: value}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: diary}
spec:
  serviceName: diary
  selector: {matchLabels: {app: diary}}
  template:
    metadata: {labels: {app: diary}}
    spec:
      containers:
      - name: diary
        image: %[1]s
        imagePullPolicy: Never
        command: [sh, -c, 'echo begin >>/data/diary; trap "echo end >>/data/diary; exit" TERM; while :; do sleep 0.1; done']
        volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, hostPath: {path: /var/lib/diary, type: DirectoryOrCreate}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: deaf}
spec:
  replicas: 2
  selector: {matchLabels: {app: deaf}}
  template:
    metadata: {labels: {app: deaf}}
    spec:
      containers: [{name: deaf, image: %[1]s, imagePullPolicy: Never, command: [sleep, infinity]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: broken}
spec:
  selector: {matchLabels: {app: broken}}
  template:
    metadata: {labels: {app: broken}}
    spec:
      containers: [{name: broken, image: slipway.test/none:1, imagePullPolicy: Never}]
`

// startWork runs the manifest with an image that every node has.
func (c cluster) startWork(t *testing.T) {
	t.Helper()
	image := c.kubectl(t, "-n", "kube-system", "get", "daemonset", "kube-proxy", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	c.apply(t, fmt.Sprintf(workManifest, image))
	c.kubectl(t, "rollout", "status", "statefulset/diary", "--timeout=60s")
	c.kubectl(t, "rollout", "status", "deployment/deaf", "--timeout=60s")
}

// TestStopStart stops a cluster with work on it, starts it, restarts a node, and freezes it, top to bottom.
func TestStopStart(t *testing.T) {
	need(t)
	before := takeInventory(t)
	c := launch(t, "halt", "--workers", "1")
	c.startWork(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T, cluster)
	}{
		{"stop", checkStop},
		{"stopped", checkStopped},
		{"start", checkStart},
		{"restart a node", checkRestartNode},
		{"not in time", checkNotInTime},
		{"pause", checkPause},
		{"killed", checkPowerKilled},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, c) }) {
			c.describe(t)
			t.FailNow()
		}
	}
	slipway(t, "down", c.name)
	before.compare(t, takeInventory(t))
}

func checkStop(t *testing.T, c cluster) {
	begin := time.Now()
	slipway(t, "stop", c.name)
	took := time.Since(begin)
	if t.Logf("stop took %.1f s", took.Seconds()); took > stopLimit {
		t.Errorf("that is more than %v", stopLimit)
	}
	left := takeInventory(t)
	left["cgroups"] = slices.DeleteFunc(left["cgroups"], func(dir string) bool { return strings.HasSuffix(dir, "/slipway/"+c.name+"/") })
	for _, kind := range []string{"processes", "cgroups", "mounts", "namespaces"} {
		if len(left[kind]) > 0 {
			t.Errorf("%s: left of what was stopped: %q", kind, left[kind])
		}
	}
	if r := slipway(t, "stop", c.name); !strings.Contains(r.stdout, "nothing was changed") {
		t.Errorf("again: %v", r)
	}
}

// checkStopped asks for what cannot be had of a cluster that is stopped.
func checkStopped(t *testing.T, c cluster) {
	checkState(t, c.name, "stopped")
	for _, args := range [][]string{{"kubectl", c.name, "--", "get", "nodes"}, {"pause", c.name}, {"resume", c.name}, {"restart", c.name, "halt-cp-1"}} {
		refusal{id: "cluster-stopped", says: c.name}.check(t, invocation{args: args}.run(t))
	}
	for _, args := range [][]string{{"ssh", c.name, "halt-cp-1", "--", "true"}, {"logs", c.name, "halt-cp-1"}} {
		refusal{id: "node-not-running", says: "halt-cp-1"}.check(t, invocation{args: args}.run(t))
	}
}

// checkState wants it in the list and in the status, which say so without an error.
func checkState(t *testing.T, name, state string) {
	t.Helper()
	for _, args := range [][]string{{"list"}, {"status", name}} {
		if r := slipway(t, args...); !strings.Contains(r.stdout, state) {
			t.Errorf("does not say %q: %v", state, r)
		}
	}
}

func checkStart(t *testing.T, c cluster) {
	begin := time.Now()
	r := slipway(t, "start", c.name, "-o", "json")
	t.Logf("start took %.1f s", time.Since(begin).Seconds())
	logSteps(t, r.stdout)
	c.isBack(t, begin)
	c.diarySays(t, "begin", "end", "begin")
	const coreDNS = `labels."io.kubernetes.container.name"==coredns`
	for _, n := range []string{"halt-cp-1", "halt-worker-1"} { // the shutdown has given its network back
		list := slipway(t, "ssh", c.name, n, "--", "ctr", "-n", "k8s.io", "containers", "list", "-q", coreDNS)
		if ids := strings.Fields(list.stdout); len(ids) > 1 {
			t.Errorf("%s: containers of CoreDNS from before are left: %q", n, ids)
		}
	}
	begin = time.Now()
	if r := slipway(t, "start", c.name); !strings.Contains(r.stdout, "nothing was changed") {
		t.Errorf("again: %v", r)
	}
	t.Logf("again took %.1f s", time.Since(begin).Seconds())
}

func logSteps(t *testing.T, events string) {
	t.Helper()
	for line := range strings.Lines(events) {
		var e struct {
			Host, Step, State string
			Seconds           float64
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.State == "done" {
			t.Logf("%-14s %-14s %5.2f s", e.Host, e.Step, e.Seconds)
		}
	}
}

// isBack wants, at once, everything ready by what was said since then, and what was written before.
func (c cluster) isBack(t *testing.T, since time.Time) {
	t.Helper()
	api := client(t)
	nodes, err := api.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		t.Fatal(len(nodes.Items), err)
	}
	for _, n := range nodes.Items {
		if err := nodeReady(n, "v1."); err != nil {
			t.Error(err)
		}
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.LastHeartbeatTime.Time.Before(since.Truncate(time.Second)) {
				t.Errorf("node %q was last heard of at %v", n.Name, cond.LastHeartbeatTime)
			}
		}
	}
	c.isLed(t, since)
	for _, p := range ownedPods(t, api) {
		if err := podReady(p); err != nil {
			t.Error(err)
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running == nil || s.State.Running.StartedAt.Time.Before(since.Truncate(time.Second)) {
				t.Errorf("container %q of pod %q is what it was before: %v", s.Name, p.Name, s.State)
			}
		}
	}
	if got := c.kubectl(t, "get", "configmap", "kept", "-o", "jsonpath={.data.key}"); got != "value" {
		t.Errorf("what was written is %q", got)
	}
}

// isLed wants somebody in charge by what was said since then: of an old leader, nobody would be for 15 s. A control plane that is
// alone leads without a lease; its controllers make what a new namespace needs.
func (c cluster) isLed(t *testing.T, since time.Time) {
	t.Helper()
	leases := client(t).CoordinationV1().Leases(metav1.NamespaceSystem)
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		l, err := leases.Get(t.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			namespace := fmt.Sprintf("led-%d", time.Now().UnixNano())
			c.kubectl(t, "create", "namespace", namespace)
			c.kubectl(t, "-n", namespace, "wait", "--for=create", "--timeout=10s", "serviceaccount/default")
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Spec.AcquireTime; got == nil || got.Time.Before(since) {
			t.Errorf("%s is led since %v", name, got)
		}
	}
}

// ownedPods are those that somebody keeps running, but not those of the kubelet itself.
func ownedPods(t *testing.T, api kubernetes.Interface) []corev1.Pod {
	t.Helper()
	pods, err := api.CoreV1().Pods(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool {
		owner := metav1.GetControllerOf(&p)
		return owner == nil || owner.APIVersion != appsv1.SchemeGroupVersion.String() || p.Labels["app"] == "broken"
	})
	if len(list) < 6 {
		t.Errorf("there are %d pods only", len(list))
	}
	return list
}

func (c cluster) diarySays(t *testing.T, want ...string) {
	t.Helper()
	if got := strings.Fields(c.kubectl(t, "exec", "diary-0", "--", "cat", "/data/diary")); !slices.Equal(got, want) {
		t.Errorf("the diary says %q, want %q", got, want)
	}
}

func checkRestartNode(t *testing.T, c cluster) {
	refusal{id: "node-unknown", says: "halt-worker-9"}.check(t, invocation{args: []string{"restart", c.name, "halt-worker-9"}}.run(t))
	before := pids(t, c.name)
	begin := time.Now()
	slipway(t, "restart", c.name, "halt-worker-1")
	t.Logf("restart of a node took %.1f s", time.Since(begin).Seconds())
	after := pids(t, c.name)
	if before["halt-cp-1"] != after["halt-cp-1"] || before["halt-worker-1"] == after["halt-worker-1"] {
		t.Errorf("first processes: before %v, after %v", before, after)
	}
	for _, p := range ownedPods(t, client(t)) {
		if err := podReady(p); err != nil {
			t.Error(err)
		}
	}
	c.diarySays(t, "begin", "end", "begin", "end", "begin") // it is on the worker, as control planes take no work then
}

// pids are those of the machines' systemds on this computer.
func pids(t *testing.T, name string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, m := range clusterMachines(t, name) {
		out[m.Name()] = m.Pid()
	}
	return out
}

func clusterMachines(t *testing.T, name string) []*local.Machine {
	t.Helper()
	machines, err := group{name: name}.provider().List(t.Context(), name)
	if err != nil || len(machines) == 0 {
		t.Fatal(len(machines), err)
	}
	return machines
}

// checkNotInTime gives a start less time than anybody needs; the next one goes on waiting.
func checkNotInTime(t *testing.T, c cluster) {
	slipway(t, "stop", c.name)
	begin := time.Now()
	r := invocation{args: []string{"start", c.name, "--wait", "2s"}}.run(t)
	if r.code != 1 || !strings.Contains(r.stderr, "error[not-ready-in-time]") || !strings.Contains(r.stderr, "error[control-plane-not-ready]") ||
		!strings.Contains(r.stderr, "kube-apiserver on halt-cp-1") || !strings.Contains(r.stderr, " on halt-cp-1 has logged:\n") {
		t.Errorf("%v", r)
	}
	slipway(t, "start", c.name)
	c.isBack(t, begin)
}

func checkPause(t *testing.T, c cluster) {
	before := pids(t, c.name)
	slipway(t, "pause", c.name)
	checkState(t, c.name, "paused")
	if err := askAPI(t); err == nil {
		t.Error("the API answers")
	}
	if used := cpuTime(t, c.name); used != 0 {
		t.Errorf("it used %v of processor time in a second", used)
	}
	for _, args := range [][]string{
		{"kubectl", c.name, "--", "get", "nodes"}, {"start", c.name}, {"up", "--name", c.name, "--workers", "1", "--egress=false"},
		{"ssh", c.name, "halt-cp-1", "--", "true"}, {"logs", c.name, "halt-cp-1"}, {"restart", c.name, "halt-cp-1"},
	} {
		refusal{id: "cluster-paused", says: c.name}.check(t, invocation{args: args}.run(t))
	}
	if r := slipway(t, "pause", c.name); !strings.Contains(r.stdout, "nothing was changed") {
		t.Errorf("again: %v", r)
	}
	begin := time.Now()
	slipway(t, "resume", c.name)
	t.Logf("resume took %.1f s", time.Since(begin).Seconds())
	if err := askAPI(t); err != nil {
		t.Error(err)
	}
	if r := slipway(t, "resume", c.name); !strings.Contains(r.stdout, "nothing was changed") {
		t.Errorf("again: %v", r)
	}
	if after := pids(t, c.name); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("first processes: before %v, after %v", before, after)
	}
}

// askAPI does not wait for long.
func askAPI(t *testing.T) error {
	t.Helper()
	config := rest.CopyConfig(restConfig(t))
	config.Timeout = 3 * time.Second
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.Get(config.Host + "/version")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it says %s", resp.Status)
	}
	return nil
}

// cpuTime is what all processes of the machines, pods included, use in a second.
func cpuTime(t *testing.T, name string) time.Duration {
	t.Helper()
	path, format, unit := "/sys/fs/cgroup/cpuacct/slipway/"+name+"/*/cpuacct.usage", "%d", time.Nanosecond
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil { // version 2
		path, format, unit = "/sys/fs/cgroup/slipway/"+name+"/*/cpu.stat", "usage_usec %d", time.Microsecond
	}
	look := func() (n time.Duration) {
		files, err := filepath.Glob(path)
		if err != nil || len(files) == 0 {
			t.Fatalf("no file says what the machines use: %s", path)
		}
		for _, f := range files {
			var used int64
			data, err := os.ReadFile(f)
			if err == nil {
				_, err = fmt.Sscanf(string(data), format, &used)
			}
			if err != nil {
				t.Fatal(err)
			}
			n += time.Duration(used) * unit
		}
		return n
	}
	before := look()
	time.Sleep(time.Second)
	return look() - before
}
