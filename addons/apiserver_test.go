package addons_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"slipway.dev/slipway/internal/testenv"
)

// startAPIServer runs a real etcd and a real API server out of the bundle on loopback, and stops them
// when the test ends. There are no controllers and no nodes: tests play those.
func startAPIServer(t *testing.T) *rest.Config {
	t.Helper()
	cfg, _ := launchAPIServer(t)
	waitHealthy(t, cfg)
	return cfg
}

// launchAPIServer does not wait until it answers.
func launchAPIServer(t *testing.T) (*rest.Config, string) {
	t.Helper()
	programs := programsOf(t, "etcd", "kube-apiserver")
	cfg, log, _ := launchOn(t, programs, launchEtcd(t, programs))
	return cfg, log
}

// launchEtcd gives the URL of an etcd.
func launchEtcd(t *testing.T, programs string) (endpoint string) {
	t.Helper()
	dir := t.TempDir()
	client, peer := freePort(t), freePort(t)
	endpoint = fmt.Sprintf("http://127.0.0.1:%d", client)
	start(t, filepath.Join(dir, "etcd.log"), filepath.Join(programs, "etcd"),
		"--data-dir="+filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+endpoint, "--advertise-client-urls="+endpoint,
		fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", peer))
	return endpoint
}

// launchOn gives an API server with its objects in that etcd, its log, and what ends it hard.
func launchOn(t *testing.T, programs, endpoint string) (cfg *rest.Config, log string, kill func()) {
	t.Helper()
	dir := t.TempDir()
	secure := freePort(t)
	certs := filepath.Join(dir, "certs")
	write(t, filepath.Join(certs, "sa.key"), newKey(t))
	write(t, filepath.Join(certs, "tokens.csv"), []byte("test-token,tester,1,system:masters\n"))
	log = filepath.Join(dir, "apiserver.log")
	kill = start(t, log, filepath.Join(programs, "kube-apiserver"),
		"--etcd-servers="+endpoint, "--cert-dir="+certs,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		fmt.Sprintf("--secure-port=%d", secure), "--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=RBAC", "--token-auth-file="+filepath.Join(certs, "tokens.csv"),
		"--service-account-issuer=https://test", "--allow-privileged",
		"--service-account-key-file="+filepath.Join(certs, "sa.key"),
		"--service-account-signing-key-file="+filepath.Join(certs, "sa.key"))
	return &rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", secure),
		BearerToken:     "test-token",
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, // it signs its own certificate on start
	}, log, kill
}

// programsOf unpacks images and gives the directory that their programs lie in.
func programsOf(t *testing.T, components ...string) string {
	t.Helper()
	b := testenv.NeedBundle(t)
	dir := t.TempDir()
	for _, component := range components {
		if err := b.Extract(component, dir); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "usr/local/bin")
}

// start gives what ends the program hard, which the end of the test does too.
func start(t *testing.T, log, program string, args ...string) (kill func()) {
	t.Helper()
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		stop()
		_ = cmd.Wait()
		out.Close()
	})
	t.Cleanup(func() {
		kill()
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", filepath.Base(program), lastLines(text, 15))
		}
	})
	return kill
}

func lastLines(text []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}

func waitHealthy(t *testing.T, cfg *rest.Config) {
	t.Helper()
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	var last string
	for ; ; time.Sleep(50 * time.Millisecond) {
		resp, err := client.Get(cfg.Host + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			last = resp.Status
		} else {
			last = err.Error()
		}
		if time.Now().After(deadline) {
			t.Fatalf("the API server is not ready: %s", last)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func newKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
