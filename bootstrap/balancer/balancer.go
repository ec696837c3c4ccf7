package balancer

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"slipway.dev/slipway/internal/fault"
)

// Config is what a balancer works with. All but CA, Prefer, Report and Ready are required.
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
	// Report is called with each event, one at a time; nothing goes on until it returns.
	Report func(Event)
	// Ready is called once, when clients can connect.
	Ready func()
}

// retryEvery is how long it takes until something is tried again that cannot be waited for.
const retryEvery = time.Second

// balancer is one run of Run.
type balancer struct {
	Config
	pool    *pool
	prober  *prober
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
	b := newBalancer(c)
	defer b.prober.close()
	defer b.running.Wait()
	b.take(ctx, servers)
	b.running.Go(func() { b.follow(ctx) })
	if c.Ready != nil {
		c.Ready()
	}
	b.accept(ctx, l)
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
	return &balancer{Config: c, pool: newPool(c.Prefer, c.Report), prober: newProber(c.CA)}
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
	if err := WriteServers(b.File, servers); err != nil {
		b.Report(Event{Kind: Trouble, Reason: "keep the list of servers: " + err.Error()})
	}
}

// attend asks a server for its health until ctx ends or the server is gone from the list for long enough.
func (b *balancer) attend(ctx context.Context, s *server) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		switch err := b.prober.ask(ctx, s.address); {
		case ctx.Err() != nil:
			return
		case err != nil:
			b.pool.failed(s, err)
		default:
			b.pool.answered(s)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if b.pool.dismiss(s) {
			return
		}
	}
}

// accept serves clients until ctx ends.
func (b *balancer) accept(ctx context.Context, l *net.TCPListener) {
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		client, err := l.AcceptTCP()
		if err == nil {
			b.running.Go(func() { b.serve(ctx, client) })
			continue
		}
		if ctx.Err() != nil {
			return
		}
		// Out of file descriptors, say: those who are connected go on, and when one of them leaves, there is one.
		b.Report(Event{Kind: Trouble, Reason: "accept a connection: " + err.Error()})
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryEvery):
		}
	}
}
