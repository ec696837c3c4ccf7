package e2e_test

import (
	"fmt"
	"testing"
	"time"
)

const (
	policyLimit = 30 * time.Second
	exitTimeout = 12 // of the echo program's "get": the only code that means "dropped"
)

const ingressPolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {matchLabels: {app: echo}}
  policyTypes: [Ingress]
`

// egressPolicy leaves name resolution open, or the client would fail before it sends anything.
const egressPolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {matchLabels: {app: probe}}
  policyTypes: [Egress]
  egress:
  - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
`

func checkPolicy(t *testing.T, c cluster) {
	for name, policy := range map[string]string{"ingress": ingressPolicy, "egress": egressPolicy} {
		t.Run(name, func(t *testing.T) {
			expectCode(t, c, "before the policy", 0)
			c.apply(t, policy)
			expectCode(t, c, "under the policy", exitTimeout)
			expectCode(t, c, "still under the policy", exitTimeout)
			c.kubectl(t, "delete", "networkpolicy", "deny")
			expectCode(t, c, "after the policy", 0)
		})
	}
}

// expectCode waits until both clients get that exit code, and then asks each three times more.
func expectCode(t *testing.T, c cluster, when string, want int) {
	t.Helper()
	for pod := range probes() {
		ask := func() error {
			if r := c.try(t, "exec", pod, "--", "/echo", "get", echoURL); r.code != want {
				return fmt.Errorf("exit code %d, want %d: %s%s", r.code, want, r.stdout, r.stderr)
			}
			return nil
		}
		eventually(t, pod+" "+when, policyLimit, ask)
		for range 3 {
			if err := ask(); err != nil {
				t.Errorf("%s %s: %v", pod, when, err)
			}
		}
	}
}

// checkSourcePort: a connection that a policy kept from its pod must not tie its source port to that pod for ever. When
// all pods have been replaced, the next connection from that port reaches one that is alive.
func checkSourcePort(t *testing.T, c cluster) {
	const port = "1234" // below those that the kernel gives away
	get := func() result { return c.try(t, "exec", "probe-1", "--", "/echo", "get", echoURL, port) }
	c.apply(t, ingressPolicy)
	expectCode(t, c, "under the policy", exitTimeout)
	if r := get(); r.code != exitTimeout {
		t.Fatalf("under the policy: %v", r)
	}
	c.kubectl(t, "delete", "networkpolicy", "deny")
	old := echoPods(t)
	c.kubectl(t, "rollout", "restart", "deployment/echo")
	c.kubectl(t, "rollout", "status", "deployment/echo", "--timeout=120s")
	awaitGone(t, old)
	if r := get(); r.code != 0 {
		t.Errorf("from a port that was used before: %v", r)
	}
}
