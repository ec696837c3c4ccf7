package balancer_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/balancer"
	"slipway.dev/slipway/internal/fault"
)

// TestFailover kills a server while clients connect all the time: each that connects after that must be served.
func TestFailover(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	servers, addresses := c.startServers(t, 3)
	c.set(addresses...)
	n := c.node(t, addresses, nil)
	n.events.wait(t, balancer.Up, addresses...)
	killed := askAllTheTime(t, n, 3)
	killed.before.Store(true)
	servers[0].kill()
	killed.after.Store(true)
	n.events.wait(t, balancer.Down, addresses[0])
	killed.enough(t)

	// Also the watch found another server.
	write(t, n.Kubeconfig, c.kubeconfig(t, n.Listen))
	n.events.wait(t, balancer.Following, "")
	servers[1].kill()
	n.events.wait(t, balancer.Down, addresses[1])
	c.set(addresses[2])
	n.events.wait(t, balancer.Removed, addresses[0], addresses[1])
}

// clients tells those that ask all the time when a server was killed: a request in flight may fail then.
type clients struct {
	before, after atomic.Bool
	enough        func(t *testing.T) // waits for requests that began afterwards, and ends the clients
}

// askAllTheTime returns when all servers have been met.
func askAllTheTime(t *testing.T, n *node, servers int) *clients {
	t.Helper()
	k := &clients{}
	var running sync.WaitGroup
	var mu sync.Mutex
	met := map[string]bool{}
	all, served, end := make(chan struct{}), make(chan struct{}), make(chan struct{})
	one := func() {
		after := k.after.Load()
		conn, server, err := n.connect()
		if err != nil {
			if after || !k.before.Load() {
				t.Errorf("a client saw an error: %v", err)
			}
			return
		}
		conn.Close()
		if after {
			select {
			case served <- struct{}{}:
			case <-end:
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if met[server] = true; len(met) == servers && all != nil {
			close(all)
			all = nil
		}
	}
	allMet := all
	for range 4 {
		running.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
					one()
				}
			}
		})
	}
	finish := sync.OnceFunc(func() { close(end); running.Wait() })
	t.Cleanup(finish)
	k.enough = func(t *testing.T) {
		t.Helper()
		for range 50 {
			await(t, served, "requests after the server was killed")
		}
		finish()
	}
	await(t, allMet, "all servers to be met")
	return k
}

func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
}

// TestHungServer holds that a server whose kernel still accepts connections is noticed, and that its clients are set free.
func TestHungServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	servers, addresses := c.startServers(t, 2)
	n := c.node(t, addresses, func(c *balancer.Config) { c.Prefer = addresses[0] })
	n.events.wait(t, balancer.Up, addresses...)
	held := n.wantNew(t, servers[0])
	servers[0].freeze()
	held.wantClosed(t)
	if ev := n.events.wait(t, balancer.Down, addresses[0]); ev.Reason == "" {
		t.Error("no reason is given")
	}
	n.wantNew(t, servers[1])
	servers[0].thaw()
	n.events.wait(t, balancer.Up, addresses[0])
	n.wantNew(t, servers[0])
}

// TestPrefer holds that connections go to the preferred server while it is ready, and that they do not move when it
// is ready again.
func TestPrefer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	servers, addresses := c.startServers(t, 3)
	n := c.node(t, addresses, func(c *balancer.Config) { c.Prefer = addresses[1] })
	n.events.wait(t, balancer.Up, addresses...)
	var held []*conn
	for range 3 {
		held = append(held, n.wantNew(t, servers[1]))
	}
	servers[1].ready.Store(false)
	ev := n.events.wait(t, balancer.Down, addresses[1])
	if !strings.Contains(ev.Reason, "500") {
		t.Errorf("the reason does not say what /readyz said: %q", ev.Reason)
	}
	for _, h := range held {
		h.wantClosed(t)
	}
	moved, server := n.hold(t)
	if server == addresses[1] {
		t.Error("a new connection went to the server that is not ready")
	}
	servers[1].ready.Store(true)
	n.events.wait(t, balancer.Up, addresses[1])
	n.wantNew(t, servers[1])
	moved.wantAlive(t)
}

// TestLeastConnections holds that connections that stay are spread.
func TestLeastConnections(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	_, addresses := c.startServers(t, 3)
	n := c.node(t, addresses, nil)
	n.events.wait(t, balancer.Up, addresses...)
	held := map[string]int{}
	for range 12 {
		_, server := n.hold(t)
		held[server]++
	}
	for _, a := range addresses {
		if held[a] != 4 {
			t.Errorf("connections are spread as %v", held)
		}
	}
}

// TestNobodyReady holds that a server that is not ready is still tried when there is no better one, that its
// connections are left alone then, and no longer than that.
func TestNobodyReady(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	servers, addresses := c.startServers(t, 2)
	n := c.node(t, addresses, func(c *balancer.Config) { c.Prefer = addresses[0] })
	n.events.wait(t, balancer.Up, addresses...)
	servers[1].ready.Store(false)
	n.events.wait(t, balancer.Down, addresses[1])
	before := n.wantNew(t, servers[0])
	servers[0].ready.Store(false)
	n.events.wait(t, balancer.Down, addresses[0])
	before.wantAlive(t)
	during := n.wantNew(t, servers[0])
	servers[1].ready.Store(true)
	n.events.wait(t, balancer.Up, addresses[1])
	before.wantClosed(t)
	during.wantClosed(t)
	n.wantNew(t, servers[1])
}

// TestVerification holds that a server is not trusted as ready with a certificate of another authority, once there
// is something to verify it with.
func TestVerification(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	s := c.start(t)
	n := c.node(t, []string{s.address}, func(c *balancer.Config) { c.CA = filepath.Join(t.TempDir(), "later.crt") })
	n.events.wait(t, balancer.Up, s.address)
	write(t, n.CA, newAuthority(t).pem)
	if ev := n.events.wait(t, balancer.Down, s.address); !strings.Contains(ev.Reason, "x509") {
		t.Errorf("the reason is %q", ev.Reason)
	}
	write(t, n.CA, c.ca.pem)
	n.events.wait(t, balancer.Up, s.address)
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", host()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "servers.json")
	if err := balancer.WriteServers(file, []string{"127.0.0.1:6443"}); err != nil {
		t.Fatal(err)
	}
	wantFault(t, balancer.Config{Listen: l.Addr().String(), File: file}, "balancer-port-in-use")
}

func TestNoFile(t *testing.T) {
	t.Parallel()
	wantFault(t, balancer.Config{Listen: freeAddress(t), File: filepath.Join(t.TempDir(), "none")}, "balancer-servers-unreadable")
}

func wantFault(t *testing.T, c balancer.Config, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // if there is none, it runs
	defer cancel()
	var f *fault.Error
	if err := balancer.Run(ctx, c); !errors.As(err, &f) || f.ID != id {
		t.Errorf("run gives %v, want the fault %q", err, id)
	}
}

// TestEndLeavesNothing is not parallel, because it counts.
func TestEndLeavesNothing(t *testing.T) {
	c := newCluster(t)
	_, addresses := c.startServers(t, 2)
	c.set(addresses...)
	before := runtime.NumGoroutine()
	n := c.node(t, addresses, nil)
	write(t, n.Kubeconfig, c.kubeconfig(t, n.Listen))
	n.events.wait(t, balancer.Up, addresses...)
	n.events.wait(t, balancer.Following, "")
	held, _ := n.hold(t)
	silent, err := net.Dial("tcp", n.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	n.stop()
	held.wantClosed(t)
	held.Close()
	if _, err := net.Dial("tcp", n.Listen); err == nil {
		t.Error("it still listens")
	}
	late := time.After(patience)
	for runtime.NumGoroutine() > before { // those of the servers end when they see that their clients are gone
		select {
		case <-late:
			stacks := make([]byte, 1<<20)
			t.Fatalf("goroutines were left:\n%s", stacks[:runtime.Stack(stacks, true)])
		default:
			runtime.Gosched()
		}
	}
}
