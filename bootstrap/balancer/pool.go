package balancer

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// downAfter is how many failures in a row make a server one that is down.
	downAfter = 2
	// grace is how long connections to a server that left the list may go on, so that requests can end.
	grace = 5 * time.Second
)

// health is what is known of a server. In this order servers are tried.
type health int

const (
	up health = iota
	unknown
	down
)

// server is an API server. The pool's lock guards all but its address.
type server struct {
	address  string
	health   health
	failures int
	left     time.Time // when it was removed from the list
	links    map[*link]struct{}
}

func (s *server) listed() bool { return s.left.IsZero() }

func (s *server) hangUp() {
	for l := range s.links {
		l.close()
	}
	clear(s.links)
}

// pool is the servers, what is known of each, and the connections to each.
type pool struct {
	prefer string
	report func(Event)

	mu      sync.Mutex
	servers map[string]*server
}

func newPool(prefer string, report func(Event)) *pool {
	return &pool{prefer: prefer, report: report, servers: map[string]*server{}}
}

// set replaces the list, and gives the servers that nobody attends to yet.
func (p *pool) set(addresses []string) []*server {
	p.mu.Lock()
	defer p.mu.Unlock()
	var fresh []*server
	for _, a := range addresses {
		s := p.servers[a]
		if s != nil && s.listed() {
			continue
		}
		p.report(Event{Kind: Added, Server: a})
		if s != nil { // it came back before it was forgotten
			s.left = time.Time{}
			continue
		}
		s = &server{address: a, health: unknown, links: map[*link]struct{}{}}
		p.servers[a] = s
		fresh = append(fresh, s)
	}
	for a, s := range p.servers {
		if s.listed() && !slices.Contains(addresses, a) {
			s.left = time.Now()
			p.report(Event{Kind: Removed, Server: a})
		}
	}
	p.settle()
	return fresh
}

// next gives the best server that was not tried, and its health at this moment; or nil. Those that are down come last.
func (p *pool) next(tried map[*server]bool) (*server, health) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []*server
	for _, s := range p.servers {
		if s.listed() && !tried[s] {
			left = append(left, s)
		}
	}
	if len(left) == 0 {
		return nil, down
	}
	// So that of equals not always the same one is taken, by all nodes.
	rand.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	best := slices.MinFunc(left, p.compare)
	return best, best.health
}

func (p *pool) compare(a, b *server) int {
	if c := cmp.Compare(a.health, b.health); c != 0 {
		return c
	}
	switch p.prefer {
	case a.address:
		return -1
	case b.address:
		return 1
	}
	return cmp.Compare(len(a.links), len(b.links))
}

// admit notes a link to s, unless s left or went down since it was chosen, when it was as known tells: then nobody
// would close it.
func (p *pool) admit(s *server, known health, l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.listed() || s.health == down && known != down {
		return false
	}
	s.links[l] = struct{}{}
	return true
}

func (p *pool) release(s *server, l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(s.links, l)
}

// failed counts a failure of s.
func (p *pool) failed(s *server, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.failures++
	if s.failures < downAfter || s.health == down {
		return
	}
	s.health = down
	p.report(Event{Kind: Down, Server: s.address, Reason: why.Error()})
	p.settle()
}

// answered notes that s is ready.
func (p *pool) answered(s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.failures = 0
	if s.health == up {
		return
	}
	s.health = up
	p.report(Event{Kind: Up, Server: s.address})
	p.settle()
}

// settle closes the connections of servers that are down, if there is one for their clients to change to.
func (p *pool) settle() {
	servers := slices.Collect(maps.Values(p.servers))
	if !slices.ContainsFunc(servers, func(s *server) bool { return s.listed() && s.health == up }) {
		return
	}
	for _, s := range servers {
		if s.health == down {
			s.hangUp()
		}
	}
}

// dismiss forgets s if it left the list long enough ago.
func (p *pool) dismiss(s *server) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.listed() || time.Since(s.left) < grace {
		return false
	}
	s.hangUp()
	delete(p.servers, s.address)
	return true
}
