package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	answerLimit = 30 * time.Second
	echoURL     = "http://echo.default.svc.cluster.local:8080/"
)

// echoManifest is three servers spread over the nodes, and one client on each worker.
const echoManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 3
  selector: {matchLabels: {app: echo}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      topologySpreadConstraints:
      # Honor: a control plane that takes no workload does not count as a node without any.
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, nodeTaintsPolicy: Honor, whenUnsatisfiable: DoNotSchedule,
         labelSelector: {matchLabels: {app: echo}}}
      terminationGracePeriodSeconds: 20
      containers:
      - name: echo
        image: slipway.test/echo:1
        imagePullPolicy: Never
        args: [serve]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
        # The endpoint goes first, then the server: what is on its way still arrives.
        lifecycle: {preStop: {sleep: {seconds: 5}}}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{port: 8080}]
`

const probeManifest = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: probe}}
spec:
  nodeName: %[2]s
  terminationGracePeriodSeconds: 1
  containers:
  - {name: probe, image: slipway.test/echo:1, imagePullPolicy: Never, args: [serve]}
`

func probes() map[string]string {
	return map[string]string{"probe-1": "a-worker-1", "probe-2": "a-worker-2"}
}

func checkServices(t *testing.T, c cluster) {
	c.apply(t, echoManifest)
	for pod, node := range probes() {
		c.apply(t, fmt.Sprintf(probeManifest, pod, node))
	}
	c.kubectl(t, "rollout", "status", "deployment/echo", "--timeout=120s")
	c.kubectl(t, "wait", "pod", "-l", "app=probe", "--for=condition=Ready", "--timeout=60s")
	for pod := range probes() {
		t.Run("from "+pod, func(t *testing.T) { checkAllAnswer(t, c, pod) })
	}
	t.Run("node port", func(t *testing.T) { checkNodePort(t, c) })
}

// checkAllAnswer asks by name until each replica has answered, on whatever node it is.
func checkAllAnswer(t *testing.T, c cluster, pod string) {
	seen := map[string]bool{}
	eventually(t, "all replicas answer "+pod, answerLimit, func() error {
		r := c.try(t, "exec", pod, "--", "/echo", "get", echoURL)
		if r.code != 0 {
			return fmt.Errorf("exit code %d: %s", r.code, r.stderr)
		}
		seen[strings.TrimSpace(r.stdout)] = true
		if len(seen) < 3 {
			return fmt.Errorf("only %v answered", seen)
		}
		return nil
	})
	nodes := map[string]bool{}
	for name := range seen {
		nodes[c.kubectl(t, "get", "pod", name, "-o", "jsonpath={.spec.nodeName}")] = true
	}
	if len(nodes) < 2 {
		t.Errorf("the replicas are all on %v: no request went from node to node", nodes)
	}
}

// checkNodePort asks from this computer at the address of each node.
func checkNodePort(t *testing.T, c cluster) {
	c.kubectl(t, "expose", "deployment", "echo", "--type=NodePort", "--name=echo-port", "--port=8080")
	service, err := client(t).CoreV1().Services("default").Get(t.Context(), "echo-port", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(int(service.Spec.Ports[0].NodePort))
	for name, address := range nodeAddresses(t) {
		eventually(t, "node port of "+name, answerLimit, func() error {
			return fetch(t, "http://"+net.JoinHostPort(address, port)+"/")
		})
	}
}

func nodeAddresses(t *testing.T) map[string]string {
	t.Helper()
	nodes, err := client(t).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				out[n.Name] = a.Address
			}
		}
	}
	return out
}

func fetch(t *testing.T, url string) error {
	t.Helper()
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "echo-")) {
		return fmt.Errorf("%s says %q", resp.Status, body)
	}
	return err
}
