package balancer_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/balancer"
)

// patience is when a test gives up waiting; nothing is expected to take that long.
const patience = time.Minute

// hosts counts the loopback addresses that were given out: with one for each listener, nobody takes another's port.
var hosts atomic.Uint32

func host() string {
	n := hosts.Add(1)
	return fmt.Sprintf("127.77.%d.%d", n/250, n%250+1)
}

// freeAddress is one on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", host()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// authority signs the certificates of API servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// serving gives a certificate for an address, and for the name by which clients know all servers.
func (a *authority) serving(t *testing.T, address string) tls.Certificate {
	t.Helper()
	ip, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"kubernetes"}, IPAddresses: []net.IP{net.ParseIP(ip)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

func (a *authority) roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// apiServer is what the balancer sees of a kube-apiserver.
type apiServer struct {
	address string
	ready   atomic.Bool
	rules   atomic.Bool                   // it knows the rules by which it allows requests, though it is not ready
	mute    atomic.Bool                   // it forbids strangers to ask whether it is ready
	asked   chan struct{}                 // gives one for each time it is asked whether it is ready, to those who wait
	frozen  atomic.Pointer[chan struct{}] // set while it accepts connections and does nothing, as after SIGSTOP
	cluster *cluster
	cert    tls.Certificate
	server  *http.Server
}

// start starts one that is ready, and stops it when the test ends.
func (c *cluster) start(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{address: net.JoinHostPort(host(), c.port), cluster: c, asked: make(chan struct{})}
	s.cert = c.ca.serving(t, s.address)
	s.ready.Store(true)
	s.start(t)
	t.Cleanup(func() { s.thaw(); s.kill() })
	return s
}

func (c *cluster) startServers(t *testing.T, n int) (servers []*apiServer, addresses []string) {
	t.Helper()
	for range n {
		s := c.start(t)
		servers, addresses = append(servers, s), append(addresses, s.address)
	}
	return servers, addresses
}

func (s *apiServer) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /whoami", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s.address) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case s.asked <- struct{}{}:
		default:
		}
		switch {
		case s.ready.Load():
		case s.mute.Load():
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusInternalServerError)
			sync := map[bool]string{true: "[+]informer-sync ok", false: "[-]informer-sync failed: reason withheld"}[s.rules.Load()]
			fmt.Fprintf(w, "[+]ping ok\n%s\n[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n", sync)
		}
	})
	mux.Handle("GET /apis/discovery.k8s.io/v1/namespaces/default/endpointslices", s.cluster)
	s.server = &http.Server{
		Handler: mux, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{s.cert}},
	}
	go s.server.ServeTLS(freezer{l, s}, "", "")
}

// kill is what the kernel does for a process that is killed.
func (s *apiServer) kill() { s.server.Close() }

func (s *apiServer) freeze() { c := make(chan struct{}); s.frozen.Store(&c) }

func (s *apiServer) thaw() {
	if c := s.frozen.Swap(nil); c != nil {
		close(*c)
	}
}

// freezer gives connections that neither read nor write while the server is frozen.
type freezer struct {
	net.Listener
	server *apiServer
}

func (f freezer) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	return frozenConn{c, f.server}, err
}

type frozenConn struct {
	net.Conn
	server *apiServer
}

func (c frozenConn) wait() {
	if gate := c.server.frozen.Load(); gate != nil {
		<-*gate
	}
}

func (c frozenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.wait()
	return n, err
}

func (c frozenConn) Write(p []byte) (int, error) {
	c.wait()
	return c.Conn.Write(p)
}

// node is a balancer that runs.
type node struct {
	balancer.Config
	roots  *x509.CertPool
	events *events
	stop   func() // waits until Run has returned
}

// node runs a balancer that begins with servers, and stops it when the test ends. Change may change its configuration.
func (c *cluster) node(t *testing.T, servers []string, change func(*balancer.Config)) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{roots: c.ca.roots(), events: newEvents()}
	n.Config = balancer.Config{
		Listen: freeAddress(t), File: filepath.Join(dir, "servers.json"), Kubeconfig: filepath.Join(dir, "kubeconfig"),
		CA: filepath.Join(dir, "ca.crt"), Report: n.events.add,
	}
	write(t, n.CA, c.ca.pem)
	if err := balancer.WriteServers(n.File, servers); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&n.Config)
	}
	n.start(t)
	return n
}

func (n *node) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan struct{})
	c := n.Config
	c.Ready = func() { close(ready) }
	go func() { ended <- balancer.Run(ctx, c) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("run did not return")
		}
	})
	t.Cleanup(func() { n.stop() })
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("run: %v", err)
	}
}

// conn is a client's connection that is kept.
type conn struct {
	*tls.Conn
	in *bufio.Reader
}

// connect gives a connection through the balancer and the address of the server at its end.
func (n *node) connect() (*conn, string, error) {
	d := &net.Dialer{Timeout: patience}
	raw, err := tls.DialWithDialer(d, "tcp", n.Listen, &tls.Config{RootCAs: n.roots, ServerName: "kubernetes"})
	if err != nil {
		return nil, "", err
	}
	c := &conn{raw, bufio.NewReader(raw)}
	server, err := c.ask()
	if err != nil {
		c.Close()
	}
	return c, server, err
}

// hold is connect for a connection that must come about.
func (n *node) hold(t *testing.T) (*conn, string) {
	t.Helper()
	c, server, err := n.connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, server
}

// wantNew wants a new connection to end at the server.
func (n *node) wantNew(t *testing.T, server *apiServer) *conn {
	t.Helper()
	c, got := n.hold(t)
	if got != server.address {
		t.Errorf("a new connection went to %s, want %s", got, server.address)
	}
	return c
}

// ask asks once more, over the same connection, which server is at its end.
func (c *conn) ask() (string, error) {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET /whoami HTTP/1.1\r\nHost: kubernetes\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func (c *conn) wantAlive(t *testing.T) {
	t.Helper()
	if _, err := c.ask(); err != nil {
		t.Errorf("the connection should have been left alone: %v", err)
	}
}

// wantClosed waits until the balancer closes the connection.
func (c *conn) wantClosed(t *testing.T) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection was not closed: %v", err)
	}
}

// events are those that no test has waited for yet.
type events struct {
	mu    sync.Mutex
	list  []balancer.Event
	added chan struct{}
}

func newEvents() *events { return &events{added: make(chan struct{})} }

func (e *events) add(ev balancer.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
	close(e.added)
	e.added = make(chan struct{})
}

// take removes one event of a kind about a server, if there is one, and gives what says that there are more.
func (e *events) take(kind balancer.Kind, server string) (ev balancer.Event, ok bool, more <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.list, func(ev balancer.Event) bool { return ev.Kind == kind && ev.Server == server })
	if i < 0 {
		return ev, false, e.added
	}
	ev = e.list[i]
	e.list = slices.Delete(e.list, i, i+1)
	return ev, true, nil
}

// wait waits for events of a kind, one about each server, and gives the last.
func (e *events) wait(t *testing.T, kind balancer.Kind, servers ...string) (ev balancer.Event) {
	t.Helper()
	late := time.After(patience)
	for _, s := range servers {
		for {
			found, ok, more := e.take(kind, s)
			if ok {
				ev = found
				break
			}
			select {
			case <-more:
			case <-late:
				t.Fatalf("no event %q about %q; there are %+v", kind, s, e.list)
			}
		}
	}
	return ev
}

// wantNone wants that no such event came so far.
func (e *events) wantNone(t *testing.T, kind balancer.Kind, server string) {
	t.Helper()
	if ev, ok, _ := e.take(kind, server); ok {
		t.Errorf("unexpected: %+v", ev)
	}
}
