package balancer_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/balancer"
)

// TestRefused: while no server accepts connections clients are refused, as by a port that nobody listens on, and not hung up on.
// Nobody else can take the port meanwhile.
func TestRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	servers, addresses := c.startServers(t, 2)
	servers[0].kill()
	servers[1].kill()
	n := c.node(t, addresses, nil)
	n.wantRefused(t)
	servers[1].start(t)
	n.events.wait(t, balancer.Up, addresses[1])
	n.wantNew(t, servers[1])

	servers[1].kill()
	n.wantRefused(t)
	n.events.wait(t, balancer.Down, addresses[1]) // by then the port is kept, too: that comes just after clients are refused
	if l, err := net.Listen("tcp", n.Listen); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("somebody else listens: %v", err)
		if err == nil {
			l.Close()
		}
	}
	servers[0].start(t)
	n.events.wait(t, balancer.Up, addresses[0])
	for range 20 {
		n.wantNew(t, servers[0])
	}
}

// TestRefusedAgain opens and shuts the door many times under clients of all kinds: in the end they are served.
func TestRefusedAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	s := c.start(t)
	n := c.node(t, []string{s.address}, nil)
	end := make(chan struct{})
	var clients sync.WaitGroup
	defer clients.Wait()
	defer close(end)
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if conn, _, err := n.connect(); err == nil {
					conn.Close()
				}
			}
		})
	}
	for range 5 {
		n.events.wait(t, balancer.Up, s.address)
		n.wantNew(t, s)
		s.kill()
		n.wantRefused(t)
		n.events.wait(t, balancer.Down, s.address)
		s.start(t)
	}
}

// TestFirstServer: after a boot clients are refused until what the first server needs is there. From then on they wait for it until it
// knows its rules; those of a node where nothing tells that it is about to come are refused so long.
func TestFirstServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	s := c.start(t)
	s.kill()
	s.ready.Store(false)
	var comes atomic.Bool
	s.mute.Store(true) // as it forbids everything
	n := c.node(t, []string{s.address}, func(c *balancer.Config) { c.Await = func(context.Context) bool { return comes.Load() } })
	other := c.node(t, []string{s.address}, nil)
	n.wantRefused(t)
	comes.Store(true)
	client := n.waiting(t)
	served := make(chan error, 1)
	go func() {
		_, err := client.ask()
		served <- err
	}()
	s.start(t)
	for range 4 { // both nodes have the answer to the first two
		<-s.asked
	}
	s.mute.Store(false) // it says now that it is not ready, however long this takes
	other.wantRefused(t)
	select {
	case err := <-served:
		t.Fatal("a client was not kept waiting:", err)
	default:
	}
	s.rules.Store(true)
	if err := <-served; err != nil {
		t.Error(err)
	}
	n.wantNew(t, s)
}

// TestMuteServer: one that never tells strangers of its health is waited for only as long as it may not know its rules yet.
func TestMuteServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	s := c.start(t)
	s.kill()
	s.ready.Store(false)
	s.mute.Store(true)
	n := c.node(t, []string{s.address}, nil)
	s.start(t)
	if _, err := n.waiting(t).ask(); err != nil {
		t.Error(err)
	}
}

// TestStopWhileWaiting: a balancer that is stopped while clients wait for the first server says nothing of trouble.
func TestStopWhileWaiting(t *testing.T) {
	t.Parallel()
	n := newCluster(t).node(t, []string{freeAddress(t)}, func(c *balancer.Config) { c.Await = func(context.Context) bool { return true } })
	n.waiting(t)
	n.stop()
	n.events.wantNone(t, balancer.Trouble, "")
}

// waiting gives a connection as soon as one is not refused. Nobody has to accept it.
func (n *node) waiting(t *testing.T) *conn {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < patience; {
		raw, err := net.Dial("tcp", n.Listen)
		if err == nil {
			t.Cleanup(func() { raw.Close() })
			c := tls.Client(raw, &tls.Config{RootCAs: n.roots, ServerName: "kubernetes"})
			return &conn{c, bufio.NewReader(c)}
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	t.Fatal("clients are refused")
	return nil
}

// wantRefused wants clients to be refused, but for the first of them, with whom the balancer finds out.
func (n *node) wantRefused(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", n.Listen)
		if errors.Is(err, unix.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("clients are not refused: %v", err)
		}
	}
}
