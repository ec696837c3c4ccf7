package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
)

const (
	gate      = "PodLogsQuerySplitStreams" // off by default
	admission = "LimitPodHardAntiAffinityTopology"
)

// settingsOfAll is what the files of a local cluster and of a server have in common.
const settingsOfAll = `
featureGates: {` + gate + `: true}
apiServer:
  extraArgs: {max-requests-inflight: 222, enable-admission-plugins: ` + admission + `}
controllerManager:
  extraArgs: {node-monitor-grace-period: 44s}
scheduler:
  extraArgs: {kube-api-qps: 77}
kubelet:
  maxPods: 33
  evictionHard: {memory.available: 66Mi}
`

// TestConfigFile launches a cluster from a file that says everything that a file can say.
func TestConfigFile(t *testing.T) {
	need(t)
	before := takeInventory(t)
	dir := t.TempDir()
	path := clusterFile(t, dir)
	t.Run("all problems at once", func(t *testing.T) { checkBadFile(t, dir) })
	c := launchFile(t, path)
	for _, step := range []struct {
		name string
		run  func(*testing.T, cluster)
	}{
		{"components", checkComponents},
		{"kubelets", checkKubelets},
		{"limits", checkLimits},
		{"mounts", func(t *testing.T, c cluster) { checkMounts(t, c, dir) }},
		{"pods", checkPodsOfFile},
		{"roles", checkRoles},
		{"again", func(t *testing.T, c cluster) { checkFileAgain(t, c, path) }},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, c) })
	}
	slipway(t, "down", c.name)
	if data, err := os.ReadFile(filepath.Join(dir, "data", "hello")); err != nil || string(data) != "hello\n" {
		t.Errorf("after down, what was mounted has %q: %v", data, err)
	}
	if out, err := exec.Command("umount", filepath.Join(dir, "data", "below")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	before.compare(t, takeInventory(t))
}

// checkLimits asks the kernel, in the machine of each node.
func checkLimits(t *testing.T, c cluster) {
	for _, m := range []string{c.name + "-cp-1", c.name + "-worker-1"} {
		const v1 = "cd /sys/fs/cgroup && cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us memory/memory.limit_in_bytes"
		const v2 = "cd /sys/fs/cgroup && cat cpu.max memory.max"
		out := slipway(t, "ssh", c.name, m, "--", "sh", "-c", v1+" 2>/dev/null || { "+v2+"; }").stdout
		if got := strings.Join(strings.Fields(out), " "); got != "150000 100000 3221225472" {
			t.Errorf("the limits of %s are %s", m, got)
		}
	}
}

// clusterFile is the example that `slipway config init` writes, with some changes.
func clusterFile(t *testing.T, dir string) string {
	t.Helper()
	path, data := filepath.Join(dir, "conf.yaml"), filepath.Join(dir, "data")
	if err := os.MkdirAll(filepath.Join(data, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "hello"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "none", filepath.Join(data, "below")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", filepath.Join(data, "below")).Run() }) // if this test ended early
	slipway(t, "config", "init", path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"name: dev", "name: conf"}, {"workers: 0", "workers: 1"}, {"egress: true", "egress: false"},
		{"cpus: 0", "cpus: 1.5"}, {"#memory: 4Gi", "memory: 3Gi"}, {"dnsDomain: cluster.local", "dnsDomain: conf.example"}, {"serviceCIDR: 10.96.0.0/16", "serviceCIDR: 10.97.0.0/16"},
	} {
		changed := strings.Replace(string(text), "\n"+change[0]+"\n", "\n"+change[1]+"\n", 1)
		if changed == string(text) {
			t.Fatalf("the example has no %q:\n%s", change[0], text)
		}
		text = []byte(changed)
	}
	text = append(text, settingsOfAll+fmt.Sprintf(`
mounts:
- {hostPath: %[1]s, nodePath: /mnt/data, readOnly: true, role: worker}
- {hostPath: %[1]s/hello, nodePath: /srv/greeting}
roles:
  worker:
    labels: {example.com/disk: ssd}
    taints: [{key: example.com/dedicated, value: gpu, effect: PreferNoSchedule}]
`, data)...)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func launchFile(t *testing.T, path string, args ...string) cluster {
	t.Helper()
	t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(os.Getenv(stateVar), "clusters", "conf")); err == nil {
			if out, err := exec.Command(binary(), "down", "conf").CombinedOutput(); err != nil {
				t.Errorf("remove the cluster: %v\n%s", err, out)
			}
		}
	})
	r := slipway(t, append([]string{"up", "--config", path, "--wait", "5m"}, args...)...)
	t.Log(r.stderr)
	return cluster{name: "conf"}
}

// checkBadFile: five problems are five errors, each with file and line, and nothing was made.
func checkBadFile(t *testing.T, dir string) {
	path := filepath.Join(dir, "bad.yaml")
	const text = `apiVersion: slipway.dev/v1alpha1
kind: LocalCluster
name: conf
worker: 1
egress: perhaps
podCIDR: 10.244.0.0/33
featureGates: {Nonsense: true}
kubelet: {staticPodPath: /etc/pods}
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	before := takeInventory(t)
	r := invocation{args: []string{"up", "--config", path}}.run(t)
	before.compare(t, takeInventory(t))
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^error\[([a-z-]+)\]: .*"`+regexp.QuoteMeta(path)+`:(\d+)": `).FindAllStringSubmatch(r.stderr, -1) {
		got = append(got, m[1]+" "+m[2])
	}
	if want := "[config-invalid 4 config-invalid 5 option-invalid 6 config-invalid 7 config-invalid 8]"; fmt.Sprint(got) != want || r.code != 1 {
		t.Errorf("exit code %d, errors %v, want %s: %v", r.code, got, want, r)
	}
}

// checkComponents: the control plane runs with the flags of the file, and does what they say.
func checkComponents(t *testing.T, c cluster) {
	for component, want := range map[string][]string{
		"kube-apiserver":          {"--max-requests-inflight=222", "--enable-admission-plugins=NodeRestriction," + admission, "--feature-gates=" + gate + "=true"},
		"kube-controller-manager": {"--node-monitor-grace-period=44s", "--feature-gates=" + gate + "=true"},
		"kube-scheduler":          {"--kube-api-qps=77", "--feature-gates=" + gate + "=true"},
	} {
		args := slipway(t, "ssh", c.name, "conf-cp-1", "--", "sh", "-c", "cat /proc/$(pidof "+component+")/cmdline").stdout
		for _, w := range want {
			if !strings.Contains("\x00"+args+"\x00", "\x00"+w+"\x00") {
				t.Errorf("%s runs without %s: %q", component, w, args)
			}
		}
	}
	if m := c.kubectl(t, "get", "--raw", "/metrics"); !strings.Contains(m, `kubernetes_feature_enabled{name="`+gate+`",stage="ALPHA"} 1`) {
		t.Error("the API server does not say that the gate is on")
	}
	if text := c.kubectl(t, "-n", "kube-system", "get", "configmap", "kube-proxy", "-o", "yaml"); !strings.Contains(text, gate+": true") {
		t.Errorf("kube-proxy is not told of the gate: %s", text)
	}
	r := invocation{args: []string{"kubectl", c.name, "--", "apply", "--dry-run=server", "-f", "-"}, stdin: strings.NewReader(`
apiVersion: v1
kind: Pod
metadata: {name: apart}
spec:
  containers: [{name: a, image: a}]
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {a: b}}}
`)}.run(t)
	if r.code == 0 || !strings.Contains(r.stderr, "only key kubernetes.io/hostname is allowed") {
		t.Errorf("the admission plugin of the file refuses nothing: %v", r)
	}
}

// checkKubelets asks each kubelet, through the API server, what it runs with.
func checkKubelets(t *testing.T, c cluster) {
	for _, node := range []string{"conf-cp-1", "conf-worker-1"} {
		checkConfigz(t, node, c.kubectl(t, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/configz"))
		if got := c.kubectl(t, "get", "node", node, "-o", "jsonpath={.status.capacity.pods}"); got != "33" {
			t.Errorf("%s has room for %s pods", node, got)
		}
	}
}

func checkConfigz(t *testing.T, node, text string) {
	t.Helper()
	var got struct {
		KubeletConfig kubelet.KubeletConfiguration `json:"kubeletconfig"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%s: %v: %s", node, err, text)
	}
	k := got.KubeletConfig
	if k.MaxPods != 33 || k.EvictionHard["memory.available"] != "66Mi" || k.EvictionHard["nodefs.available"] != "0%" || !k.FeatureGates[gate] {
		t.Errorf("%s runs with maxPods %d, evictionHard %v, gates %v", node, k.MaxPods, k.EvictionHard, k.FeatureGates)
	}
}

// checkMounts looks at the files on the nodes: the role's, and all nodes'; nobody there can change them.
func checkMounts(t *testing.T, c cluster, dir string) {
	on := func(node, command string) result {
		return invocation{args: []string{"ssh", c.name, node, "--", "sh", "-c", command}}.run(t)
	}
	for _, tt := range []struct {
		node, command string
		fails         bool
	}{
		{"conf-worker-1", "grep hello /mnt/data/hello", false}, {"conf-cp-1", "ls /mnt/data/hello", true},
		{"conf-worker-1", "grep hello /srv/greeting", false}, {"conf-cp-1", "grep hello /srv/greeting", false},
		{"conf-worker-1", "touch /mnt/data/x", true}, {"conf-worker-1", "touch /mnt/data/below/x", true}, {"conf-worker-1", "ls /mnt/data/below", false},
	} {
		if r := on(tt.node, tt.command); (r.code != 0) != tt.fails {
			t.Errorf("%s: %v", tt.command, r)
		}
	}
	for _, name := range []string{"x", "below/x"} {
		if _, err := os.Stat(filepath.Join(dir, "data", name)); err == nil {
			t.Errorf("a node has written %q to this computer", name)
		}
	}
}

// checkPodsOfFile: a pod that asks for the label comes to that node, sees what is mounted there, and has the domain of the file. Its logs can be
// asked for by stream, which the gate allows.
func checkPodsOfFile(t *testing.T, c cluster) {
	loadEcho(t, c)
	c.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {example.com/disk: ssd}
  containers:
  - {name: echo, image: slipway.test/echo:1, imagePullPolicy: Never, args: [serve], volumeMounts: [{name: data, mountPath: /data}]}
  volumes:
  - {name: data, hostPath: {path: /mnt/data, type: Directory}}
`)
	c.kubectl(t, "wait", "pod/reader", "--for=condition=Ready", "--timeout=60s")
	if got := c.kubectl(t, "exec", "reader", "--", "/echo", "cat", "/data/hello"); got != "hello\n" {
		t.Errorf("the pod reads %q", got)
	}
	if got := c.kubectl(t, "exec", "reader", "--", "/echo", "cat", "/etc/resolv.conf"); !strings.Contains(got, "svc.conf.example") || !strings.Contains(got, "10.97.0.10") {
		t.Errorf("the pod's resolver is %q", got)
	}
	c.kubectl(t, "get", "--raw", "/api/v1/namespaces/default/pods/reader/log?stream=Stderr")
}

func checkRoles(t *testing.T, _ cluster) {
	nodes, err := client(t).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		worker := n.Name == "conf-worker-1"
		tainted := false
		for _, taint := range n.Spec.Taints {
			tainted = tainted || taint.Key == "example.com/dedicated" && taint.Value == "gpu" && taint.Effect == corev1.TaintEffectPreferNoSchedule
		}
		if (n.Labels["example.com/disk"] == "ssd") != worker || tainted != worker {
			t.Errorf("%s has the labels %v and the taints %v", n.Name, n.Labels, n.Spec.Taints)
		}
	}
}

// checkFileAgain: the same file changes nothing, another one is refused with what differs, and so are flags, which count before the file.
func checkFileAgain(t *testing.T, c cluster, path string) {
	slipway(t, "up", "--config", path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.yaml")
	changed := strings.NewReplacer("maxPods: 33", "maxPods: 34", "inflight: 222", "inflight: 223").Replace(string(text))
	if err := os.WriteFile(other, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	r := invocation{args: []string{"up", "--config", other, "--workers", "2"}}.run(t)
	for _, want := range []string{
		"with workers 1 instead of 2", "arguments of the API server map[enable-admission-plugins:" + admission + " max-requests-inflight:222]",
		`kubelet settings {"evictionHard":{"memory.available":"66Mi"},"maxPods":33} instead of {"evictionHard":{"memory.available":"66Mi"},"maxPods":34}`,
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if n := strings.Count(r.stderr, "error[cluster-differs]"); r.code != 1 || n != 3 {
		t.Errorf("exit code %d, %d differences: %v", r.code, n, r)
	}
}

// TestConfigNoNetwork: without a network of pods, up ends when the API answers; and values that a component cannot take end with what it says.
func TestConfigNoNetwork(t *testing.T) {
	need(t)
	before := takeInventory(t)
	path := filepath.Join(t.TempDir(), "conf.yaml")
	const header = "apiVersion: slipway.dev/v1alpha1\nkind: LocalCluster\nname: conf\negress: false\ncni: none\n"
	if err := os.WriteFile(path, []byte(header+"apiServer: {extraArgs: {max-requests-inflight: lots}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command(binary(), "down", "conf").Run() }) // if this test ended early
	r := invocation{args: []string{"up", "--config", path}}.run(t)
	want := `error[api-not-ready]: conf-cp-1: wait for the API server: kube-apiserver does not start: Error: invalid argument "lots" for "--max-requests-inflight"`
	if r.code != 1 || !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, "error[launch-undone]") {
		t.Errorf("a value that cannot be: %v", r)
	}
	wantLogEnd(t, r, "kube-apiserver (pod kube-apiserver-conf-cp-1)", `Error: invalid argument "lots"`)
	if err := os.WriteFile(path, []byte(header+"kubelet: {maxPods: -5}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r = invocation{args: []string{"up", "--config", path, "--wait", failsWithin}}.run(t)
	if r.code != 1 || !regexp.MustCompile(`the kubelet ended, and said: .*maxPods.* -5 must not be`).MatchString(r.stderr) {
		t.Errorf("a value that no kubelet takes: %v", r)
	}
	wantLogEnd(t, r, "kubelet.service", "-5 must not be")
	checkSpoiledEtcd(t, path, header)
	c := launchFile(t, path)
	if got := c.kubectl(t, "get", "deployments,daemonsets", "-A", "-o", "name"); got != "deployment.apps/coredns\ndaemonset.apps/kube-proxy\ndaemonset.apps/slipway-controllers\n" {
		t.Errorf("there are %q", got)
	}
	if got := c.kubectl(t, "get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`); got != "False" {
		t.Errorf("without a network, the node is ready: %s", got)
	}
	slipway(t, "up", "--config", path, "--wait", "30s") // nothing is waited for
	slipway(t, "down", c.name)
	before.compare(t, takeInventory(t))
}

// TestConfigOfServers: what a file gives the components of a cluster, servers that join later have too.
func TestConfigOfServers(t *testing.T) {
	need(t)
	before := takeInventory(t)
	g := launchMachines(t, "conf", 2)
	g.must(t, 1, "cat > /root/init.yaml <<'END'\napiVersion: slipway.dev/v1alpha1\nkind: InitConfiguration\nbundle: /media/bundle\n"+
		"workloads: true\nfeatureGates: {Nonsense: true}\npodCIDR: 10.244.0.1\nkubelet: {clusterDomain: x}\nEND")
	r := g.on(t, 1, "slipway init --config /root/init.yaml")
	for _, want := range []string{`option-invalid]: use podCIDR "10.244.0.1" of "/root/init.yaml:6"`} {
		if !strings.Contains(r.stderr, want) || r.code != 1 {
			t.Errorf("it does not say %q: %v", want, r)
		}
	}
	g.must(t, 1, "sed -i /podCIDR/d /root/init.yaml")
	r = g.on(t, 1, "slipway init --config /root/init.yaml")
	if want := `use kubelet.clusterDomain of "/root/init.yaml:6": use dnsDomain`; !strings.Contains(r.stderr, want) || r.code != 1 {
		t.Errorf("it does not say %q: %v", want, r)
	}
	g.must(t, 1, "sed -i /kubelet/d /root/init.yaml")
	r = g.on(t, 1, "slipway init --config /root/init.yaml") // by now the bundle has said which version it is of
	if want := `use featureGates.Nonsense of "/root/init.yaml:5": there is no feature gate of that name in Kubernetes v1.37`; !strings.Contains(r.stderr, want) || r.code != 1 {
		t.Errorf("it does not say %q: %v", want, r)
	}
	g.must(t, 1, "sed -i /featureGates/d /root/init.yaml; cat >> /root/init.yaml <<'END'\n"+settingsOfAll+"\nEND")
	out := g.must(t, 1, "slipway init --config /root/init.yaml")
	join := regexp.MustCompile(`(?m)^  (slipway join .*)$`).FindStringSubmatch(out)
	if join == nil {
		t.Fatalf("init prints no command to join with: %s", out)
	}
	g.must(t, 2, join[1]+" --bundle /media/bundle")
	for i := 1; i <= 2; i++ {
		get := "KUBECONFIG=/etc/kubernetes/admin.conf kubectl get --raw /api/v1/nodes/" + g.machine(i) + "/proxy/configz"
		checkConfigz(t, g.machine(i), g.must(t, 1, get))
	}
	args := g.must(t, 1, "tr '\\0' '\\n' < /proc/$(pidof kube-apiserver)/cmdline")
	if !strings.Contains(args, "--max-requests-inflight=222\n") || !strings.Contains(args, "--feature-gates="+gate+"=true\n") {
		t.Errorf("the API server runs with %s", args)
	}
	slipway(t, "down", g.name)
	before.compare(t, takeInventory(t))
}
