package e2e_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const dualFile = `
apiVersion: slipway.dev/v1alpha1
kind: LocalCluster
name: dual
workers: 1
egress: false
podCIDR: 10.244.0.0/16,fd00:10:244::/56
serviceCIDR: 10.96.0.0/16,fd00:10:96::/112
`

// dualManifest is a Service with an address of each family, and what is behind it; dualPod is one of these.
const (
	dualManifest = `
apiVersion: v1
kind: Service
metadata: {name: six}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: six}
  ports: [{port: 80, targetPort: 8080}]
`
	dualPod = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: six}}
spec:
  nodeName: %[2]s
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: slipway.test/echo:1
    imagePullPolicy: Never
    args: [serve]
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
`
	dualPolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {matchLabels: {app: six}}
  policyTypes: [Ingress]
`
)

func dualPods() map[string]string {
	return map[string]string{"six-cp": "dual-cp-1", "six-worker": "dual-worker-1"}
}

// TestDualStack has pods, nodes and Services of both families, through all that a cluster goes through.
func TestDualStack(t *testing.T) {
	need(t)
	before := takeInventory(t)
	path := filepath.Join(t.TempDir(), "dual.yaml")
	if err := os.WriteFile(path, []byte(dualFile), 0o644); err != nil {
		t.Fatal(err)
	}
	c := launch(t, "dual", "--config", path)
	for _, step := range []struct {
		name string
		run  func(*testing.T, cluster)
	}{
		{"load image", loadEcho},
		{"nodes", checkDualNodes},
		{"pods and services", beginDual},
		{"network policy", checkDualPolicy},
		{"no way out", checkNoWayOut6},
		{"add a node", addDualNode},
		{"stop and start", restartDual},
		{"again", func(t *testing.T, c cluster) { checkDualAgain(t, c, path) }},
		{"a copy", copyDual},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, c) }) && step.name != "network policy" {
			c.describe(t)
			break
		}
	}
	slipway(t, "down", c.name)
	before.compare(t, takeInventory(t))
}

// families says of addresses which family each is of.
func families(t *testing.T, addresses []string) string {
	t.Helper()
	var out []string
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			t.Error(err)
		case a.Is4():
			out = append(out, "4")
		default:
			out = append(out, "6")
		}
	}
	return strings.Join(out, " ")
}

func checkDualNodes(t *testing.T, c cluster) {
	list, err := client(t).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) < 2 {
		t.Errorf("there are %d nodes", len(list.Items))
	}
	for _, n := range list.Items {
		var got []string
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				got = append(got, a.Address)
			}
		}
		if families(t, got) != "4 6" {
			t.Errorf("node %s has the addresses %v", n.Name, got)
		}
		if out := slipway(t, "ssh", c.name, n.Name, "--", "ip", "-6", "-o", "address", "show", "dev", "eth0").stdout; !strings.Contains(out, " "+got[len(got)-1]+"/64 ") {
			t.Errorf("node %s is to have %s, and has %s", n.Name, got[len(got)-1], out)
		}
	}
}

func beginDual(t *testing.T, c cluster) {
	c.apply(t, dualManifest)
	for pod, node := range dualPods() {
		c.apply(t, fmt.Sprintf(dualPod, pod, node))
	}
	checkDualTraffic(t, c)
}

// podAddresses are the two of each pod, IPv4 first.
func podAddresses(t *testing.T, c cluster) map[string][]string {
	t.Helper()
	c.kubectl(t, "wait", "pod", "-l", "app=six", "--for=condition=Ready", "--timeout=2m")
	list, err := client(t).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=six"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, p := range list.Items {
		for _, ip := range p.Status.PodIPs {
			out[p.Name] = append(out[p.Name], ip.IP)
		}
		if families(t, out[p.Name]) != "4 6" {
			t.Fatalf("pod %s has the addresses %v", p.Name, out[p.Name])
		}
	}
	return out
}

// checkDualTraffic goes from each pod to the pod of the other node, and from each pod and node to the Service, in both families.
func checkDualTraffic(t *testing.T, c cluster) {
	t.Helper()
	addresses := podAddresses(t, c)
	service, err := client(t).CoreV1().Services("default").Get(t.Context(), "six", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ips := service.Spec.ClusterIPs
	if families(t, ips) != "4 6" {
		t.Fatalf("the Service has the addresses %v", ips)
	}
	for pod, node := range dualPods() {
		for to, its := range addresses {
			for _, address := range its {
				expectDual(t, c, pod, address, "8080", 0, to)
			}
		}
		for _, address := range ips {
			askDualService(t, c, pod, address)
			eventually(t, node+" to the Service at "+address, answerLimit, func() error { return askFromNode(t, c, node, address) })
		}
	}
}

// askDualService asks until each of the two pods has answered, on whatever node it is.
func askDualService(t *testing.T, c cluster, pod, address string) {
	t.Helper()
	var seen []string
	eventually(t, pod+" to the Service at "+address, answerLimit, func() error {
		r := c.try(t, "exec", pod, "--", "/echo", "get", "http://"+net.JoinHostPort(address, "80")+"/")
		name := strings.TrimSpace(r.stdout)
		if r.code != 0 {
			return fmt.Errorf("exit code %d: %s", r.code, r.stderr)
		}
		if !slices.Contains(seen, name) {
			seen = append(seen, name)
		}
		if len(seen) < len(dualPods()) {
			return fmt.Errorf("only %v answered", seen)
		}
		return nil
	})
}

// askFromNode is for what runs on the host's network, which the kernel has to know a way for before anything is translated.
func askFromNode(t *testing.T, c cluster, node, address string) error {
	t.Helper()
	script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/80 && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3`, address)
	r := invocation{args: []string{"ssh", c.name, node, "--", "timeout", "3", "bash", "-c", script}}.run(t)
	if r.code != 0 || !strings.Contains(r.stdout, "six-") {
		return fmt.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	return nil
}

// expectDual waits until a pod that asks an address gets that exit code, and who answers.
func expectDual(t *testing.T, c cluster, pod, address, port string, want int, says string) {
	t.Helper()
	eventually(t, pod+" to "+address, policyLimit, func() error {
		r := c.try(t, "exec", pod, "--", "/echo", "get", "http://"+net.JoinHostPort(address, port)+"/")
		if r.code != want || strings.TrimSpace(r.stdout) != says {
			return fmt.Errorf("exit code %d, want %d: %s%s", r.code, want, r.stdout, r.stderr)
		}
		return nil
	})
}

// checkDualPolicy: what is forbidden is forbidden in both families, between nodes and by way of the Service.
func checkDualPolicy(t *testing.T, c cluster) {
	addresses := podAddresses(t, c)
	c.apply(t, dualPolicy)
	for range 2 { // also when it has been so for a while
		for _, address := range addresses["six-worker"] {
			expectDual(t, c, "six-cp", address, "8080", exitTimeout, "")
		}
	}
	c.kubectl(t, "delete", "networkpolicy", "deny")
	for _, address := range addresses["six-worker"] {
		expectDual(t, c, "six-cp", address, "8080", 0, "six-worker")
	}
}

// checkNoWayOut6: machines have no IPv6 route but to each other and into the cluster, and this computer none but into nowhere.
func checkNoWayOut6(t *testing.T, c cluster) {
	for _, node := range dualPods() {
		if got := slipway(t, "ssh", c.name, node, "--", "ip", "-6", "route", "show", "default").stdout; got != "" {
			t.Errorf("%s has a way out: %s", node, got)
		}
	}
	for _, prefix := range []string{"fd53:6c69:", "fd00:10:244::/56", "fd00:10:96::/112"} {
		found := slices.ContainsFunc(lines(t, "ip", "-6", "route", "show", "proto", "83"), func(line string) bool {
			return strings.HasPrefix(line, "blackhole "+prefix)
		})
		if !found {
			t.Errorf("nothing keeps %s on this computer", prefix)
		}
	}
}

func addDualNode(t *testing.T, c cluster) {
	slipway(t, "node", "add", c.name)
	checkDualNodes(t, c)
}

func restartDual(t *testing.T, c cluster) {
	slipway(t, "stop", c.name)
	slipway(t, "start", c.name)
	checkDualNodes(t, c)
	checkDualTraffic(t, c)
}

// checkDualAgain: the same settings are the same, those of IPv4 alone are others.
func checkDualAgain(t *testing.T, c cluster, path string) {
	slipway(t, "up", "--name", c.name, "--config", path, "--workers", "2")
	r := invocation{args: []string{"up", "--name", c.name, "--egress=false", "--workers", "2"}}.run(t)
	for _, want := range []string{
		"pod CIDR 10.244.0.0/16,fd00:10:244::/56 instead of 10.244.0.0/16", "service CIDR 10.96.0.0/16,fd00:10:96::/112 instead of 10.96.0.0/16",
	} {
		if r.code != 1 || !strings.Contains(r.stderr, "error[cluster-differs]") || !strings.Contains(r.stderr, want) {
			t.Errorf("with IPv4 alone it does not say %q: %v", want, r)
		}
	}
}

// copyDual: a cluster made of a snapshot has the same networks inside, and nodes with addresses of its own.
func copyDual(t *testing.T, c cluster) {
	slipway(t, "snapshot", "save", c.name, "six")
	twin := launch(t, "twin", "--from", c.name+"/six") // from here on the kubeconfig's context is the copy's
	checkDualNodes(t, twin)
	checkDualTraffic(t, twin)
	slipway(t, "down", twin.name)
	slipway(t, "snapshot", "delete", c.name, "six")
}
