package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/semver"

	"slipway.dev/slipway/internal/testenv"
)

// kubeadmConfig suits hosts with version 1 of control groups, as those of the tests may be. The images of etcd and
// CoreDNS are the bundle's.
const kubeadmConfig = `
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: theirs
kubernetesVersion: VERSION
controlPlaneEndpoint: ADDRESS:6443
networking: {podSubnet: 10.244.0.0/16}
etcd: {local: {imageTag: "ETCD"}}
dns: {imageTag: "COREDNS"}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
conntrack: {maxPerCore: 0, min: 0}
`

// kubeadmFlags ignore what is true of the tests' hosts: version 1 of control groups.
const kubeadmFlags = " --ignore-preflight-errors=SystemVerification 2>&1"

// TestInterop: kubeadm's nodes join a cluster of ours, and ours one of kubeadm's, as workers and as control planes.
func TestInterop(t *testing.T) {
	need(t)
	before := takeInventory(t)
	g := launchMachines(t, "mix", 3)
	var hosts [4][]string
	for i := 1; i <= 3; i++ {
		hosts[i] = g.inventory(t, i)
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"kubeadm joins slipway's cluster", func(t *testing.T) { checkKubeadmJoins(t, g) }},
		{"kubeadm's commands on slipway's control plane", func(t *testing.T) { checkKubeadmCommands(t, g) }},
		{"take apart", func(t *testing.T) { takeApart(t, g, hosts) }},
		{"slipway joins kubeadm's cluster", func(t *testing.T) { checkJoinsKubeadm(t, g) }},
		{"reset of what joined kubeadm's cluster", func(t *testing.T) { checkLeavesKubeadm(t, g, hosts) }},
	} {
		if !t.Run(step.name, step.run) {
			t.FailNow()
		}
	}
	slipway(t, "down", g.name)
	before.compare(t, takeInventory(t))
}

func kubeadm(command string) string {
	return strings.Replace(command, "slipway join", "kubeadm join", 1)
}

func checkKubeadmJoins(t *testing.T, g group) {
	join := checkInit(t, g)
	withoutBundle := func(c string) string { return strings.TrimSuffix(c, " --bundle /media/bundle") }
	fetch := strings.NewReplacer("slipway join", "slipway certs fetch", "--control-plane ", "").Replace(withoutBundle(join.controlPlane))
	g.together(t, map[int]string{
		2: "slipway prepare --bundle /media/bundle && " + kubeadm(withoutBundle(join.worker)) + kubeadmFlags,
		3: "slipway prepare --bundle /media/bundle && " + fetch + " && " + kubeadm(withoutBundle(join.controlPlane)) + kubeadmFlags,
	})
	checkServers(t, g, 3)
	checkEtcd(t, g, 2)
	// Logs come from the kubelets themselves, whose certificates the API servers verify: ours approved them.
	for i, pod := range map[int]string{2: "kube-proxy-direct", 3: "kube-proxy-direct"} {
		name := g.kubectl(t, 1, `-n kube-system get pods -o name --field-selector spec.nodeName=`+g.machine(i)+` | grep `+pod)
		if out := g.kubectl(t, 1, "-n kube-system logs --tail 5 "+strings.TrimSpace(name)); out == "" {
			t.Errorf("%s says nothing", name)
		}
	}
	// Both API servers read what the other has encrypted.
	g.kubectl(t, 1, "create secret generic first --from-literal=key=one")
	g.kubectl(t, 3, "--server https://127.0.0.1:6443 create secret generic third --from-literal=key=three")
	for i, server := range map[int]string{1: "first third", 3: "first third"} {
		out := g.kubectl(t, i, "--server https://127.0.0.1:6443 get secret "+server+" -o 'jsonpath={.items[*].data.key}'")
		if out != "b25l dGhyZWU=" {
			t.Errorf("the API server of %s says %q", g.machine(i), out)
		}
	}
}

// checkKubeadmCommands runs what administrators know on a control plane that slipway made.
func checkKubeadmCommands(t *testing.T, g group) {
	if err := testenv.NeedBundle(t).Extract("kubeadm", filepath.Join(g.share, "tools")); err != nil {
		t.Fatal(err)
	}
	const program = "/media/share/tools/usr/local/bin/kubeadm "
	version := strings.TrimSpace(g.must(t, 1, program+"version -o short"))
	ignored, warned := "SystemVerification", false
	if semver.Compare(version, "v1.37.0") < 0 { // they do not know the bundle's CoreDNS yet, which is that of 1.37
		ignored, warned = ignored+",CoreDNSUnsupportedPlugins,CoreDNSMigration", true
	}
	for _, command := range []string{"certs check-expiration", "token list", "upgrade plan " + version + " --ignore-preflight-errors=" + ignored} {
		r := g.on(t, 1, program+command)
		if r.code != 0 || strings.Contains(r.stdout+r.stderr, "WARNING") && !warned || regexp.MustCompile(`(?m)^W\d{4} `).MatchString(r.stderr) {
			t.Errorf("kubeadm %s complains: %v", command, r)
		}
	}
}

// takeApart undoes the first cluster, each host with its own tool.
func takeApart(t *testing.T, g group, hosts [4][]string) {
	for _, i := range []int{3, 2} {
		g.must(t, i, "kubeadm reset --force >/dev/null 2>&1; slipway reset")
	}
	g.must(t, 1, "slipway reset")
	for i := 1; i <= 3; i++ {
		g.sameHost(t, i, hosts[i], auditLog)
	}
}

func checkJoinsKubeadm(t *testing.T, g group) {
	g.must(t, 1, "slipway prepare --bundle /media/bundle")
	g.writeKubeadm(t, 1, "")
	out := g.must(t, 1, "kubeadm init --config /media/share/kubeadm-1.yaml --upload-certs"+kubeadmFlags)
	// Without any resolver on these hosts, kubeadm's CoreDNS cannot forward and exits.
	g.must(t, 1, `export KUBECONFIG=/etc/kubernetes/admin.conf
		kubectl apply -f /media/share/calico.yaml
		kubectl -n kube-system get configmap coredns -o yaml | sed '/forward \./,/}/d' | kubectl replace -f -`)
	join := joinKubeadm(t, out)
	const bundle = " --bundle /media/bundle"
	g.must(t, 2, "slipway join "+join.worker+bundle)
	g.must(t, 3, "slipway join "+join.controlPlane+bundle)
	checkServers(t, g, 3)
	checkEtcd(t, g, 2)
	for i := 2; i <= 3; i++ { // kubeadm's API servers do not verify kubelets
		name := g.kubectl(t, 1, `-n kube-system get pods -o name --field-selector spec.nodeName=`+g.machine(i)+` | grep kube-proxy`)
		g.kubectl(t, 1, "-n kube-system logs --tail 1 "+strings.TrimSpace(name))
	}
}

// writeKubeadm writes what kubeadm is told on a server, with more for its kubelets, and the same Calico as slipway's.
func (g group) writeKubeadm(t testing.TB, i int, kubelet string) {
	t.Helper()
	bundle := testenv.NeedBundle(t)
	if err := bundle.Extract("calico-manifests", g.share); err != nil {
		t.Fatal(err)
	}
	refs := imageRefs(t)
	tag := func(component string) string { return refs[component][strings.LastIndex(refs[component], ":")+1:] }
	address := strings.Fields(g.must(t, i, "hostname -I"))[0]
	config := strings.NewReplacer("VERSION", tag("kube-apiserver"), "ADDRESS", address, "ETCD", tag("etcd"), "COREDNS", tag("coredns"),
		"failSwapOn: false", "failSwapOn: false\n"+kubelet).Replace(kubeadmConfig)
	manifest, err := os.ReadFile(filepath.Join(g.share, "calico/calico-vxlan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		fmt.Sprintf("kubeadm-%d.yaml", i): config,
		"calico.yaml":                     regexp.MustCompile(`(docker.io/calico/[a-z-]+):\S+`).ReplaceAllString(string(manifest), "${1}:"+tag("calico-node")),
	} {
		if err := os.WriteFile(filepath.Join(g.share, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// joinKubeadm reads what to join with, without the program's name, from what kubeadm init has printed.
func joinKubeadm(t testing.TB, printed string) joinCommands {
	t.Helper()
	found := regexp.MustCompile(`kubeadm join (.*?)( --control-plane --certificate-key \w+)`).
		FindStringSubmatch(strings.NewReplacer("\\\n", "", "\t", "").Replace(printed))
	if found == nil {
		t.Fatalf("kubeadm says no join command: %s", printed)
	}
	return joinCommands{worker: found[1], controlPlane: found[1] + found[2]}
}

// checkLeavesKubeadm: the worker may not delete its Node there, and says so.
func checkLeavesKubeadm(t *testing.T, g group, hosts [4][]string) {
	if r := g.on(t, 2, "slipway reset"); r.code != 0 || !strings.Contains(r.stderr, "kubectl delete node mix-2") {
		t.Errorf("reset of a worker: %v", r)
	}
	g.must(t, 3, "slipway reset")
	checkEtcd(t, g, 1)
	if out := g.kubectl(t, 1, "get nodes -o name"); strings.Contains(out, "mix-3") {
		t.Errorf("nodes: %s", out)
	}
	for i := 2; i <= 3; i++ {
		g.sameHost(t, i, hosts[i], auditLog)
	}
}

// imageRefs are the names of the bundle's images.
func imageRefs(t testing.TB) map[string]string {
	t.Helper()
	var list []struct{ Component, Ref string }
	if err := json.Unmarshal([]byte(slipway(t, "images", "list", "--bundle", string(testenv.NeedBundle(t)), "-o", "json").stdout), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, c := range list {
		out[c.Component] = c.Ref
	}
	return out
}
