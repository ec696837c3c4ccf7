package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// checkSecurity is "secure by default", each line looked at from outside.
func checkSecurity(t *testing.T, c cluster) {
	t.Run("old TLS is refused", func(t *testing.T) { checkOldTLS(t) })
	t.Run("etcd wants a certificate", func(t *testing.T) { checkEtcdWantsCertificate(t) })
	t.Run("profiling is off", func(t *testing.T) { checkNoProfiling(t) })
	t.Run("a kubelet keeps to its node", func(t *testing.T) { checkNodeRestriction(t, c) })
	t.Run("pod security", func(t *testing.T) { checkPodSecurity(t, c) })
	t.Run("audit log", func(t *testing.T) { checkAuditLog(t, c) })
	t.Run("private keys", func(t *testing.T) { checkPrivateKeys(t, c) })
}

func apiAddress(t *testing.T) string {
	t.Helper()
	return strings.TrimPrefix(restConfig(t).Host, "https://")
}

func checkOldTLS(t *testing.T) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(restConfig(t).CAData)
	dial := func(address string, highest uint16) error {
		d := &net.Dialer{Timeout: 5 * time.Second}
		conn, err := tls.DialWithDialer(d, "tcp", address, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: highest})
		if err == nil {
			conn.Close()
		}
		return err
	}
	kubelet := net.JoinHostPort(nodeAddresses(t)["a-worker-1"], "10250")
	for _, address := range []string{apiAddress(t), kubelet} {
		if err := dial(address, tls.VersionTLS12); err != nil {
			t.Errorf("TLS 1.2 at %s: %v", address, err)
		}
		if err := dial(address, tls.VersionTLS11); err == nil {
			t.Errorf("TLS 1.1 is spoken at %s", address)
		}
	}
}

// checkEtcdWantsCertificate reads after the handshake: in TLS 1.3 the server says only then what it thinks of the client.
func checkEtcdWantsCertificate(t *testing.T) {
	host, _, err := net.SplitHostPort(apiAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []string{"2379", "2380"} {
		d := &net.Dialer{Timeout: 5 * time.Second}
		conn, err := tls.DialWithDialer(d, "tcp", net.JoinHostPort(host, port), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it is the client that is judged
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "tls: certificate required") {
			t.Errorf("port %s: %v, want a refusal for want of a certificate", port, err)
		}
	}
}

func checkNoProfiling(t *testing.T) {
	config := restConfig(t)
	if status, _ := ask(t, config, config.Host+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("the API server's profile: status %d", status)
	}
	url := "https://" + net.JoinHostPort(nodeAddresses(t)["a-worker-1"], "10250") + "/debug/pprof/"
	if status, _ := ask(t, config, url); status == http.StatusOK || status == 0 {
		t.Errorf("the kubelet's profile: status %d", status)
	}
	if status, _ := ask(t, rest.AnonymousClientConfig(config), url); status != http.StatusUnauthorized {
		t.Errorf("the kubelet's profile without a certificate: status %d", status)
	}
}

// checkNodeRestriction acts as the kubelet of one worker.
func checkNodeRestriction(t *testing.T, c cluster) {
	as := func(args ...string) result {
		kubectl := []string{"ssh", c.name, "a-worker-1", "--", "kubectl", "--kubeconfig=/etc/kubernetes/kubelet.conf"}
		return invocation{args: append(kubectl, args...)}.run(t)
	}
	if r := as("label", "node", "a-worker-1", "mine=yes"); r.code != 0 {
		t.Errorf("its own node: %v", r)
	}
	for what, args := range map[string][]string{
		"another node":   {"label", "node", "a-worker-2", "not=mine"},
		"its own role":   {"label", "node", "a-worker-1", "node-role.kubernetes.io/control-plane="},
		"others' secret": {"get", "secrets", "-A"},
	} {
		if r := as(args...); r.code == 0 || !strings.Contains(r.stderr, "orbidden") {
			t.Errorf("%s: %v", what, r)
		}
	}
}

const restrictedManifest = `
apiVersion: v1
kind: Namespace
metadata: {name: restricted, labels: {pod-security.kubernetes.io/enforce: restricted}}
`

const privilegedManifest = `
apiVersion: v1
kind: Pod
metadata: {name: privileged, namespace: %s}
spec:
  containers:
  - {name: c, image: slipway.test/echo:1, imagePullPolicy: Never, args: [serve], securityContext: {privileged: true}}
`

func checkPodSecurity(t *testing.T, c cluster) {
	c.apply(t, restrictedManifest)
	try := func(namespace string) result {
		return invocation{
			args:  []string{"kubectl", c.name, "--", "create", "--dry-run=server", "-f", "-"},
			stdin: strings.NewReader(strings.Replace(privilegedManifest, "%s", namespace, 1)),
		}.run(t)
	}
	if r := try("default"); r.code != 0 {
		t.Errorf("where nothing is enforced: %v", r)
	}
	if r := try("restricted"); r.code == 0 || !strings.Contains(r.stderr, "PodSecurity") {
		t.Errorf("where it is enforced: %v", r)
	}
}

// checkAuditLog: it says who made a secret, and does not have what is in it.
func checkAuditLog(t *testing.T, c cluster) {
	const value = "do-not-write-this-down"
	c.kubectl(t, "create", "secret", "generic", "audited", "--from-literal=word="+value)
	eventually(t, "the audit log has it", answerLimit, func() error {
		r := slipway(t, "ssh", c.name, "a-cp-1", "--", "cat", "/var/log/kubernetes/audit/audit.log")
		if strings.Contains(r.stdout, value) || strings.Contains(r.stdout, base64.StdEncoding.EncodeToString([]byte(value))) {
			t.Fatal("the audit log has a secret's value")
		}
		for line := range strings.Lines(r.stdout) {
			if strings.Contains(line, `"name":"audited"`) && strings.Contains(line, `"verb":"create"`) && strings.Contains(line, "kubernetes-admin") {
				return nil
			}
		}
		return errors.New("no line about it")
	})
}

func checkPrivateKeys(t *testing.T, c cluster) {
	for _, node := range []string{"a-cp-1", "a-worker-1"} {
		r := slipway(t, "ssh", c.name, node, "--", "find", "/etc/kubernetes", "/var/lib/kubelet/pki", "/var/lib/slipway", "-xdev", "-type", "f",
			"(", "-name", "*.key", "-o", "-name", "*.conf", "-o", "-name", "*.pem", "-o", "-name", "encryption*", "-o", "-name", "journal*", ")",
			"-perm", "/077")
		if r.stdout != "" {
			t.Errorf("on %s others may read:\n%s", node, r.stdout)
		}
	}
	if st, err := os.Stat(os.Getenv("KUBECONFIG")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig: %v, %v", st.Mode(), err)
	}
}
