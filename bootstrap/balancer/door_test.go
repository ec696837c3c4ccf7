package balancer_test

import (
	"errors"
	"net"
	"sync"
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
