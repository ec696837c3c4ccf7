package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"slipway.dev/slipway/internal/fault"
)

// Client speaks to the members of one cluster.
type Client struct {
	c   *clientv3.Client
	tls *tls.Config
}

// Files are what a client proves who it is with, and knows the members by.
type Files struct{ CA, Cert, Key string }

// dialTimeout and askTimeout bound one try; the caller's context bounds them all.
const (
	dialTimeout = 5 * time.Second
	askTimeout  = 10 * time.Second
)

// Open makes a client of the members at these URLs. Nobody is asked yet.
func Open(ctx context.Context, urls []string, f Files) (*Client, error) {
	cfg, err := tlsConfig(f)
	if err != nil {
		return nil, err
	}
	return open(ctx, urls, cfg)
}

func open(ctx context.Context, urls []string, cfg *tls.Config) (*Client, error) {
	c, err := clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: urls, TLS: cfg, DialTimeout: dialTimeout, Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("reach etcd: %w", err)
	}
	return &Client{c, cfg}, nil
}

func tlsConfig(f Files) (*tls.Config, error) {
	info := transport.TLSInfo{CertFile: f.Cert, KeyFile: f.Key, TrustedCAFile: f.CA}
	cfg, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read etcd's certificates: %w", err)
	}
	return cfg, nil
}

// Close ends the client's connections.
func (c *Client) Close() { _ = c.c.Close() }

// Member is one member.
type Member struct {
	ID       uint64
	Name     string // empty for one that has never started
	PeerURLs []string
	Learner  bool
}

// Members lists all members, learners too.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := c.c.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the members of etcd: %w", err)
	}
	return members(r.Members), nil
}

func members(all []*etcdserverpb.Member) []Member {
	var out []Member
	for _, m := range all {
		out = append(out, Member{m.ID, m.Name, m.PeerURLs, m.IsLearner})
	}
	return out
}

// Find gives the member with this peer URL.
func Find(all []Member, peerURL string) (Member, bool) {
	i := slices.IndexFunc(all, func(m Member) bool { return slices.Contains(m.PeerURLs, peerURL) })
	if i < 0 {
		return Member{}, false
	}
	return all[i], true
}

// Add adds a learner, which takes no part in votes: one that never starts does not harm the others. It gives all members
// as a new one must know them (--initial-cluster). The fault is etcd-not-changed.
func (c *Client) Add(ctx context.Context, name, peerURL string, progress func(string)) (initial []string, err error) {
	err = retry(ctx, "add a member to etcd", progress, func(ctx context.Context) (err error) {
		initial, err = c.add(ctx, name, peerURL)
		return err
	})
	return initial, err
}

func (c *Client) add(ctx context.Context, name, peerURL string) (initial []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := c.c.MemberAddAsLearner(ctx, []string{peerURL})
	if err != nil {
		return nil, err
	}
	for _, m := range members(r.Members) {
		for _, u := range m.PeerURLs {
			switch {
			case u == peerURL:
				initial = append(initial, name+"="+u)
			case m.Name == "": // it is only ever compared by its URL
				initial = append(initial, fmt.Sprintf("%x=%s", m.ID, u))
			default:
				initial = append(initial, m.Name+"="+u)
			}
		}
	}
	return initial, nil
}

// pollMembers is how often it is tried to change the members: etcd says only when asked whether it can be done now.
const pollMembers = 100 * time.Millisecond

// retry tries until it succeeds, telling progress what is wrong whenever that changes. What keeps etcd from changing its
// members heals by itself: a member that has just come must be connected to all others for five seconds, a learner has to
// catch up, a leader may be elected. The fault is etcd-not-changed.
func retry(ctx context.Context, op string, progress func(string), try func(context.Context) error) error {
	tick := time.NewTicker(pollMembers)
	defer tick.Stop()
	last := ""
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			progress(op + ": " + last)
		}
		select {
		case <-ctx.Done():
			return fault.New("etcd-not-changed", op, fmt.Errorf("%w; last: %s", context.Cause(ctx), last),
				"look at the logs of etcd on the control planes; run the same command again to go on")
		case <-tick.C:
		}
	}
}

// Promote gives the learner with this peer URL its vote, as soon as it has caught up. The fault is etcd-not-changed.
func (c *Client) Promote(ctx context.Context, peerURL string, progress func(string)) error {
	return retry(ctx, "give the new member of etcd its vote", progress, func(ctx context.Context) error { return c.promote(ctx, peerURL) })
}

func (c *Client) promote(ctx context.Context, peerURL string) error {
	all, err := c.Members(ctx)
	if err != nil {
		return err
	}
	m, ok := Find(all, peerURL)
	switch {
	case !ok:
		return fmt.Errorf("it has no member at %q", peerURL)
	case !m.Learner:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err = c.c.MemberPromote(ctx, m.ID)
	return err
}

// learnerDial is how long a learner may take to accept a connection.
const learnerDial = 3 * time.Second

// Clear makes room for another learner, as etcd has no more than one: a learner that lives gets its vote, one that does not is
// removed. The fault is etcd-not-changed.
func (c *Client) Clear(ctx context.Context, learner Member, progress func(string)) error {
	if !lives(ctx, learner) {
		progress(fmt.Sprintf("remove the learner %q from etcd, which has never got its vote and does not answer", learner.PeerURLs))
		return c.Remove(ctx, learner.ID, progress)
	}
	return c.Promote(ctx, learner.PeerURLs[0], progress)
}

func lives(ctx context.Context, m Member) bool {
	for _, text := range m.PeerURLs {
		u, err := url.Parse(text)
		if err != nil {
			continue
		}
		d := net.Dialer{Timeout: learnerDial}
		if conn, err := d.DialContext(ctx, "tcp", u.Host); err == nil {
			conn.Close()
			return true
		}
	}
	return false
}

// Remove removes a member. One that is not there is fine. The fault is etcd-not-changed.
func (c *Client) Remove(ctx context.Context, id uint64, progress func(string)) error {
	return retry(ctx, "remove a member of etcd", progress, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		_, err := c.c.MemberRemove(ctx, id)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil
		}
		return err
	})
}
