package balancer_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap/balancer"
)

// TestListChanges adds a server and removes one, from which its connections then go away.
func TestListChanges(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	servers, addresses := c.startServers(t, 2)
	c.set(addresses[0])
	n := c.node(t, addresses[:1], func(c *balancer.Config) { c.Prefer = addresses[0] })
	write(t, n.Kubeconfig, c.kubeconfig(t, n.Listen))
	n.events.wait(t, balancer.Up, addresses[0])
	n.events.wait(t, balancer.Following, "")
	held := n.wantNew(t, servers[0])

	c.set(addresses...)
	n.events.wait(t, balancer.Added, addresses[1])
	n.events.wait(t, balancer.Up, addresses[1])

	c.set(addresses[1])
	n.events.wait(t, balancer.Removed, addresses[0])
	n.wantNew(t, servers[1])
	for range 2 { // for some time
		await(t, servers[0].asked, "a server that left to be asked still")
		held.wantAlive(t)
	}
	held.wantClosed(t)
	n.events.wantNone(t, balancer.Down, addresses[0])

	c.set(addresses...)
	n.events.wait(t, balancer.Up, addresses[0])
	n.wantNew(t, servers[0])
}

// TestBackInTime holds that a server that left the list for a moment only keeps its connections.
func TestBackInTime(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	_, addresses := c.startServers(t, 2)
	c.set(addresses...)
	last := c.start(t)
	n := c.node(t, addresses, func(c *balancer.Config) { c.Prefer = last.address })
	write(t, n.Kubeconfig, c.kubeconfig(t, n.Listen))
	n.events.wait(t, balancer.Added, addresses...)
	n.events.wait(t, balancer.Up, addresses...)
	n.events.wait(t, balancer.Following, "")
	held, server := n.hold(t)
	c.set(slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return a == server })...)
	c.set(append(addresses, last.address)...)
	n.events.wait(t, balancer.Removed, server)
	n.events.wait(t, balancer.Added, server)

	// Another one leaves later and for good. When its connections are closed, those of the first would be too.
	n.events.wait(t, balancer.Up, last.address)
	other := n.wantNew(t, last)
	c.set(addresses...)
	other.wantClosed(t)
	held.wantAlive(t)
}

// TestEmptyList holds that a list without servers is passed over: the next one shows that it was seen.
func TestEmptyList(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	servers, addresses := c.startServers(t, 2)
	c.set(addresses[0])
	n := c.node(t, addresses[:1], nil)
	write(t, n.Kubeconfig, c.kubeconfig(t, n.Listen))
	n.events.wait(t, balancer.Following, "")
	c.set()
	c.set(addresses...)
	n.events.wait(t, balancer.Added, addresses[1])
	n.events.wantNone(t, balancer.Removed, addresses[0])
	servers[1].kill()
	n.wantNew(t, servers[0])
}

// TestRestartWithoutAPI holds that what was learned is still known when nobody can be asked.
func TestRestartWithoutAPI(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	servers, addresses := c.startServers(t, 2)
	c.set(addresses...)
	n := c.node(t, addresses[:1], nil)
	write(t, n.Kubeconfig, c.kubeconfig(t, n.Listen))
	n.events.wait(t, balancer.Up, addresses...)
	n.events.wait(t, balancer.Following, "")
	n.stop()
	kept, err := balancer.ReadServers(n.File)
	slices.Sort(addresses)
	if err != nil || !slices.Equal(kept, addresses) {
		t.Errorf("the file has %q, want %q (%v)", kept, addresses, err)
	}
	for _, s := range servers {
		s.kill()
	}
	n.start(t)
	n.events.wait(t, balancer.Down, addresses...)
	servers[1].start(t)
	n.events.wait(t, balancer.Up, servers[1].address)
	n.wantNew(t, servers[1])
	n.events.wait(t, balancer.Following, "") // again, since then
}

// TestKubeconfigChanges holds that the watch begins when there is something to watch with, and goes over to new
// credentials.
func TestKubeconfigChanges(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	s := c.start(t)
	c.set(s.address)
	n := c.node(t, []string{s.address}, nil)
	n.wantNew(t, s)
	n.events.wantNone(t, balancer.Trouble, "")
	good := c.kubeconfig(t, n.Listen)
	for what, data := range map[string]string{
		"Unauthorized":    strings.Replace(string(good), token, "another", 1),
		"read kubeconfig": "what?",
	} {
		write(t, n.Kubeconfig, []byte(data))
		if ev := n.events.wait(t, balancer.Trouble, ""); !strings.Contains(ev.Reason, what) {
			t.Errorf("the trouble is %q, want %q", ev.Reason, what)
		}
		write(t, n.Kubeconfig, good)
		n.events.wait(t, balancer.Following, "")
	}
}
