package e2e_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// publishedManifest has one server for each of the ways to it.
const publishedManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 1
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {kubernetes.io/hostname: pub-worker-1}
      containers:
      - name: echo
        image: slipway.test/echo:1
        imagePullPolicy: Never
        args: [serve]
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo-port}
spec:
  type: NodePort
  selector: {app: echo}
  ports:
  - {name: tcp, port: 8080, nodePort: 30080}
  - {name: udp, port: 8080, nodePort: 30053, protocol: UDP}
`

const balancedManifest = `
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  type: LoadBalancer
  selector: {app: echo}
  ports:
  - {name: tcp, port: 80, targetPort: 8080}
  - {name: udp, port: 53, targetPort: 8080, protocol: UDP}
`

// publishFlags lead two ports of this namespace's loopback to the cluster.
func publishFlags() []string {
	return []string{"--publish", "18080:30080", "--publish", "127.0.0.9:18053:30053/udp"}
}

const (
	publishedURL    = "http://127.0.0.1:18080/"
	publishedPacket = "127.0.0.9:18053"
)

// TestPublish reaches Services from this computer, by published ports and by addresses of their own, while the node that leads
// to them changes.
func TestPublish(t *testing.T) {
	need(t)
	before := takeInventory(t)
	checkRefusedPorts(t)
	c := launch(t, "pub", append([]string{"--workers", "1"}, publishFlags()...)...)
	loadEcho(t, c)
	c.apply(t, publishedManifest)
	c.kubectl(t, "rollout", "status", "deployment/echo", "--timeout=120s")
	checkPublished(t)
	t.Run("second up", func(t *testing.T) { checkPublishedAgain(t, c) })
	t.Run("load balancer", func(t *testing.T) { checkLoadBalancer(t, c) })
	t.Run("more control planes", func(t *testing.T) { checkFrontMoves(t, c) })
	slipway(t, "down", c.name)
	if err := fetch(t, publishedURL); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("after its end the port says %v", err)
	}
	before.compare(t, takeInventory(t))
}

// checkRefusedPorts: all that is wrong is said at once, and nothing is made.
func checkRefusedPorts(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:18080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := invocation{args: append([]string{"up", "--name", "pub", "--egress=false"}, publishFlags()...)}.run(t)
	holder := fmt.Sprintf("process %d has 127.0.0.1:18080/tcp", os.Getpid())
	if r.code != 1 || !strings.Contains(r.stderr, "error[port-in-use]") || !strings.Contains(r.stderr, holder) {
		t.Errorf("a port in use: %v", r)
	}
	bad := []string{"0:30080", "80:80", "x", "[::1]:80:30080", "192.0.2.1:80:30080", "80:30080/sctp"}
	args := []string{"up", "--name", "pub", "--egress=false", "--publish", "80:30080", "--publish", "80:30081"}
	for _, p := range bad {
		args = append(args, "--publish", p)
	}
	r = invocation{args: args}.run(t)
	for _, p := range append(bad, "80:30081") {
		if !strings.Contains(r.stderr, fmt.Sprintf("error[option-invalid]: use --publish %q", p)) {
			t.Errorf("nothing is said of %q: %v", p, r)
		}
	}
}

func checkPublished(t *testing.T) {
	t.Helper()
	eventually(t, "the published TCP port", answerLimit, func() error { return fetch(t, publishedURL) })
	eventually(t, "the published UDP port", answerLimit, func() error { return askUDP(publishedPacket) })
}

// askUDP wants a pod's name back.
func askUDP(address string) error {
	conn, err := net.Dial("udp4", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("who")); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	packet := make([]byte, 512)
	n, err := conn.Read(packet)
	if err == nil && !strings.HasPrefix(string(packet[:n]), "echo-") {
		return fmt.Errorf("it says %q", packet[:n])
	}
	return err
}

func checkPublishedAgain(t *testing.T, c cluster) {
	up := []string{"up", "--name", c.name, "--egress=false", "--workers", "1"}
	lines(t, "nft", "flush", "ruleset") // as a restart of somebody's firewall does
	if err := fetch(t, publishedURL); err == nil {
		t.Error("without a firewall the published port still leads to the cluster")
	}
	slipway(t, append(up, publishFlags()...)...)
	checkPublished(t)
	if rules := strings.Join(lines(t, "nft", "list", "ruleset"), "\n"); !strings.Contains(rules, "chain guard") {
		t.Errorf("nothing guards the loopback: %s", rules)
	}
	refusal{id: "cluster-differs", says: "published ports"}.check(t, invocation{args: up}.run(t))
	if out := slipway(t, "status", c.name).stdout; !strings.Contains(out, "\npublished: 127.0.0.1:18080->30080/tcp\n") {
		t.Errorf("status says %s", out)
	}
	if out := slipway(t, "list").stdout; !strings.Contains(out, "127.0.0.9:18053->30053/udp 127.0.0.1:18080->30080/tcp") {
		t.Errorf("list says %s", out)
	}
	r := invocation{args: append([]string{"up", "--name", "cut", "--egress=false"}, publishFlags()[:2]...)}.run(t)
	refusal{id: "port-in-use", says: `cluster "pub" has 127.0.0.1:18080/tcp`}.check(t, r)
}

// balanced gives the address of a Service, which must be reachable from this computer, a node and a pod.
func (c cluster) balanced(t *testing.T, name string) string {
	t.Helper()
	c.apply(t, fmt.Sprintf(balancedManifest, name))
	c.kubectl(t, "wait", "service", name, "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "--timeout=60s")
	address := c.kubectl(t, "get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	t.Logf("%s has %s", name, address)
	c.answers(t, address)
	return address
}

func (c cluster) answers(t *testing.T, address string) {
	t.Helper()
	url := "http://" + address + "/"
	eventually(t, url+" from here", answerLimit, func() error { return fetch(t, url) })
	eventually(t, "UDP "+address+" from here", answerLimit, func() error { return askUDP(address + ":53") })
	eventually(t, url+" from a node", answerLimit, func() error {
		ask := `exec 3<>/dev/tcp/` + address + `/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; timeout 3 cat <&3`
		r := invocation{args: []string{"ssh", c.name, "pub-worker-1", "--", "timeout", "3", "bash", "-c", ask}}.run(t)
		if !strings.Contains(r.stdout, "echo-") {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	eventually(t, url+" from a pod", answerLimit, func() error {
		if r := c.try(t, "exec", "deployment/echo", "--", "/echo", "get", url); r.code != 0 || !strings.HasPrefix(r.stdout, "echo-") {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
}

func checkLoadBalancer(t *testing.T, c cluster) {
	one, two := c.balanced(t, "one"), c.balanced(t, "two")
	if one == two {
		t.Fatalf("both have %s", one)
	}
	c.kubectl(t, "delete", "service", "one")
	eventually(t, "a deleted Service's address answers nobody", answerLimit, func() error {
		if fetch(t, "http://"+one+"/") == nil {
			return fmt.Errorf("%s answers", one)
		}
		return nil
	})
	if three := c.balanced(t, "three"); three != one {
		t.Errorf("the address %s was not free again: the next Service got %s", one, three)
	}
	for pod := range strings.FieldsSeq(c.kubectl(t, "get", "pods", "-n", "kube-system", "-l", "k8s-app=slipway-controllers", "-o", "name")) {
		t.Logf("%s says\n%s", pod, c.kubectl(t, "logs", "-n", "kube-system", pod))
	}
}

// checkFrontMoves has the ways lead to the address that three control planes share, and then kills the first one, which they led to
// before.
func checkFrontMoves(t *testing.T, c cluster) {
	slipway(t, "node", "add", c.name, "--control-plane", "--count", "2", "--wait", "5m")
	checkPublished(t)
	two := c.kubectl(t, "get", "service", "two", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	c.answers(t, two)
	if err := syscall.Kill(group{name: c.name}.pidOf(t, "pub-cp-1"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = lines(t, "ip", "-n", "slipway-pub.pub-cp-1", "link", "set", "eth0", "down") // the kernel would go on leading packets
	died := time.Now()
	checkPublished(t)
	c.answers(t, two)
	t.Logf("everything answered %.1f s after the first control plane's death", time.Since(died).Seconds())
	c.balanced(t, "four")
	t.Logf("a new Service had its address %.1f s after it", time.Since(died).Seconds())
}
