package balancer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"slipway.dev/slipway/internal/fault"
)

// Config is what a balancer works with. All but CA, Prefer, Await, Report and Ready are required.
type Config struct {
	// Listen is where clients connect, for example 127.0.0.1:6444.
	Listen string
	// File holds the servers known last. It is read once, and replaced whenever the cluster's list changes.
	File string
	// Kubeconfig has the credentials to watch the list with: list and watch of the EndpointSlice "kubernetes" in
	// "default". It may come later, and change.
	Kubeconfig string
	// CA is a PEM file to verify the servers' readiness with. It may come later; nothing is verified until then.
	CA string
	// Prefer is the server that new connections go to while it is up: on a control plane, its own.
	Prefer string
	// Await tells whether a first server is about to come: on a control plane, whether the kubelet has begun its pod. From then on clients
	// are kept waiting for that server, for some seconds at most, and not refused. It is asked until then, or until there is a server.
	Await func(context.Context) bool
	// Report is called with each event, one at a time; nothing goes on until it returns.
	Report func(Event)
	// Ready is called once: from then on clients can connect whenever a server accepts connections.
	Ready func()
}

const (
	// retryEvery is how long it takes until something is tried again that cannot be waited for.
	retryEvery = time.Second
	// informedWithin is how long the first server has to know what it allows, see mayOpen.
	informedWithin = time.Minute
	// awaitEvery is how often Await is asked: a kubelet at a boot asks at some moment soon after.
	awaitEvery = 20 * time.Millisecond
	// muteFor is how long the first server may forbid to ask for its health, until that is taken for its way: see mayOpen.
	muteFor = 2 * time.Second
)

// balancer is one run of Run.
type balancer struct {
	Config
	pool    *pool
	prober  *prober
	door    *door
	began   time.Time
	running sync.WaitGroup
}

// Run balances until ctx ends, then closes all connections and returns nil.
func Run(ctx context.Context, c Config) error {
	servers, err := ReadServers(c.File)
	if err != nil {
		return fault.New("balancer-servers-unreadable", "read the addresses of the API servers", err,
			`write them again, as {"v":1,"servers":["10.0.0.1:6443"]}, and start the load balancer`)
	}
	l, err := listen(ctx, c.Listen)
	if err != nil {
		return fault.New("balancer-port-in-use", "accept connections for the API servers", err,
			"look with `ss -ltnp` which program has the port, and stop it")
	}
	defer l.Close()
	b := newBalancer(c)
	if b.door, err = newDoor(l); err != nil {
		return fmt.Errorf("shut the port %q: %w", c.Listen, err)
	}
	defer b.prober.close()
	defer b.running.Wait()
	b.take(ctx, servers)
	if b.anyAccepts(ctx, servers) {
		b.trouble("let clients connect", b.door.open())
	}
	b.running.Go(func() { b.follow(ctx) })
	b.running.Go(func() { b.awaitFirst(ctx) })
	if c.Ready != nil {
		c.Ready()
	}
	b.accept(ctx)
	return nil
}

func newBalancer(c Config) *balancer {
	var one sync.Mutex
	report := c.Report
	c.Report = func(e Event) {
		one.Lock()
		defer one.Unlock()
		if report != nil {
			report(e)
		}
	}
	return &balancer{Config: c, pool: newPool(c.Prefer, c.Report), prober: newProber(c.CA), began: time.Now()}
}

// take makes servers those that connections go to.
func (b *balancer) take(ctx context.Context, servers []string) {
	for _, s := range b.pool.set(servers) {
		b.running.Go(func() { b.attend(ctx, s) })
	}
}

// keep takes a list over for good, also across restarts.
func (b *balancer) keep(ctx context.Context, servers []string) {
	b.take(ctx, servers)
	if kept, err := ReadServers(b.File); err == nil && slices.Equal(kept, servers) {
		return
	}
	b.trouble("keep the list of servers", WriteServers(b.File, servers))
}

// attend asks a server for its health until ctx ends or the server is gone from the list for long enough.
func (b *balancer) attend(ctx context.Context, s *server) {
	var mute time.Time // since when it tells strangers nothing
	for {
		err := b.prober.ask(ctx, s.address)
		if ctx.Err() != nil {
			return
		}
		var u *unready
		switch {
		case !errors.As(err, &u) || !u.mute:
			mute = time.Time{}
		case mute.IsZero():
			mute = time.Now()
		}
		if b.mayOpen(err, !mute.IsZero() && time.Since(mute) > muteFor) {
			b.trouble("let clients connect", b.door.open())
		}
		if err != nil {
			b.pool.failed(s, err)
		} else {
			b.pool.answered(s)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(b.door.patience()):
		}
		if b.pool.dismiss(s) {
			return
		}
	}
}

// mayOpen tells by the answer of a server whether clients may connect. The first one after a boot forbids everything for a moment, and who
// is forbidden something asks again as late as one who is refused. Later on a server that can do anything is better than none. One that
// never tells strangers of its health is not waited for.
func (b *balancer) mayOpen(answer error, mute bool) bool {
	if b.door.opening() > 0 || time.Since(b.began) > informedWithin {
		return accepts(answer)
	}
	var u *unready
	return answer == nil || mute || errors.As(answer, &u) && u.informed
}

// accepts tells whether a server accepted a connection, whatever came of it.
func accepts(err error) bool {
	var op *net.OpError
	return !errors.As(err, &op) || op.Op != "dial"
}

// anyAccepts tells as soon as one of the servers has accepted a connection, or none has.
func (b *balancer) anyAccepts(ctx context.Context, servers []string) bool {
	results := make(chan bool, len(servers))
	for _, s := range servers {
		b.running.Go(func() {
			conn, err := dial(ctx, s)
			if err == nil {
				conn.Close()
			}
			results <- err == nil
		})
	}
	for range servers {
		if <-results {
			return true
		}
	}
	return false
}

// accept serves clients until ctx ends. While no server accepts a connection, it does not either.
func (b *balancer) accept(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { b.door.Close() })
	defer stop()
	for b.door.wait(ctx) {
		opening := b.door.opening()
		client, err := b.door.AcceptTCP()
		if err == nil {
			b.running.Go(func() {
				if !b.serve(ctx, client) {
					b.trouble("refuse clients", b.door.shut(opening))
				}
			})
			continue
		}
		if ctx.Err() != nil || b.door.isShut() {
			continue
		}
		// Out of file descriptors, say: those who are connected go on, and when one of them leaves, there is one.
		b.trouble("accept a connection", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
}

// awaitFirst keeps clients waiting as soon as the first server is about to come. Who is refused, as the kubelet at a boot, asks again
// only seconds after the server is there. It would be too early to keep clients before: a kubelet that waits for an answer
// mounts nothing, and so does not start the server.
func (b *balancer) awaitFirst(ctx context.Context) {
	if b.Await == nil {
		return
	}
	for every := awaitEvery; b.door.opening() == 0 && ctx.Err() == nil; {
		if b.Await(ctx) {
			b.trouble("let clients wait", b.door.keep(ctx, keepFor))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
		if time.Since(b.began) > informedWithin { // somebody keeps the server from being started
			every = askEvery
		}
	}
}

func (b *balancer) trouble(what string, err error) {
	if err != nil {
		b.Report(Event{Kind: Trouble, Reason: what + ": " + err.Error()})
	}
}
