// Package testregistry runs a real OCI registry for tests: that of the CNCF Distribution project, compiled from its module.
package testregistry

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"slipway.dev/slipway/internal/testenv"
)

// Options say what kind of registry to run. The zero one speaks plain HTTP on loopback and lets everybody do everything.
type Options struct {
	IP             string // to listen on; empty: 127.0.0.1
	TLS            bool
	Name           string // that its certificate is good for, besides the IP
	User, Password string // nobody else may do anything
	Data           string // its directory; empty: a temporary one
}

// Registry is one that runs.
type Registry struct {
	Addr string // host:port
	Data string
	CA   string // file with the authority of its certificate
	log  *bytes.Buffer
	cmd  *exec.Cmd
}

const config = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q%s}
%s`

// Start runs a registry until the test ends.
func Start(t *testing.T, o Options) *Registry {
	t.Helper()
	if o.IP == "" {
		o.IP = "127.0.0.1"
	}
	r := &Registry{Data: o.Data, log: &bytes.Buffer{}}
	if r.Data == "" {
		r.Data = t.TempDir()
	}
	dir := t.TempDir()
	r.Addr = freeAddress(t, o.IP)
	tls, auth := "", ""
	if o.TLS {
		r.CA = filepath.Join(dir, "ca.crt")
		certificate(t, dir, o)
		tls = fmt.Sprintf(", tls: {certificate: %q, key: %q}", filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	}
	if o.User != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(o.Password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "htpasswd")
		write(t, file, fmt.Appendf(nil, "%s:%s\n", o.User, hash))
		auth = fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", file)
	}
	file := filepath.Join(dir, "config.yml")
	write(t, file, fmt.Appendf(nil, config, r.Data, r.Addr, tls, auth))
	r.cmd = exec.Command(program(t), "serve", file)
	r.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	r.await(t)
	return r
}

// Stop ends it. Its data stay as long as the test runs.
func (r *Registry) Stop() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

func (r *Registry) await(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", r.Addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			r.Stop()
			t.Fatalf("the registry does not listen: %v: %s", err, r.log)
		}
	}
}

// program compiles the registry, which is a module of its own. Go keeps the program with what else it has built.
func program(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "slipway.dev/slipway").Output()
	if err != nil {
		testenv.Lacks(t, "needs go: %v", err)
	}
	build := exec.Command("go", "tool", "-n", "registry")
	build.Dir = filepath.Join(string(bytes.TrimSpace(root)), "hack/registry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	build.Stderr = &stderr
	out, err := build.Output()
	if err != nil {
		testenv.Lacks(t, "compile the registry: %v: %s", err, &stderr)
	}
	return string(bytes.TrimSpace(out))
}

func freeAddress(t *testing.T, ip string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificate makes an authority, and a certificate of its for the address and the name.
func certificate(t *testing.T, dir string, o Options) {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test registry CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test registry"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.ParseIP(o.IP)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if o.Name != "" {
		leaf.DNSNames = []string{o.Name}
	}
	caKey, leafKey := newKey(t), newKey(t)
	for name, c := range map[string]struct {
		of  *x509.Certificate
		key *ecdsa.PrivateKey
	}{"ca.crt": {ca, caKey}, "tls.crt": {leaf, leafKey}} {
		der, err := x509.CreateCertificate(rand.Reader, c.of, ca, &c.key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
