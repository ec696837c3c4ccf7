package balancer

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialTimeout = 2 * time.Second
	// userTimeout is how long bytes may go without an acknowledgement before the kernel gives a connection up; its
	// own default is a quarter of an hour.
	userTimeout = 10 * time.Second
)

// alive makes the kernel notice, also on a silent connection, that the other side is gone.
func alive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 2}
}

func listen(ctx context.Context, address string) (*net.TCPListener, error) {
	c := net.ListenConfig{KeepAliveConfig: alive()}
	l, err := c.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

func dial(ctx context.Context, address string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: alive(), Control: giveUpEarly}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// giveUpEarly is for the side of the servers only: a client on loopback cannot vanish unnoticed, and one that stops
// reading for a while must not lose its connection, as it would after the same time.
func giveUpEarly(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	return errors.Join(err, set)
}

// serve joins a client with the first server that accepts a connection. It gives false if there was none.
func (b *balancer) serve(ctx context.Context, client *net.TCPConn) bool {
	defer client.Close()
	tried := map[*server]bool{}
	accepted := false
	for {
		s, health := b.pool.next(tried)
		if s == nil {
			return accepted
		}
		tried[s] = true
		conn, err := dial(ctx, s.address)
		if ctx.Err() != nil {
			return true
		}
		if err != nil {
			b.pool.failed(s, err)
			continue
		}
		accepted = true
		l := &link{client: client, server: conn}
		if b.pool.admit(s, health, l) {
			l.join(ctx)
			b.pool.release(s, l)
			return true
		}
		conn.Close()
	}
}

// link is a client's connection and the server's that it is joined with.
type link struct{ client, server *net.TCPConn }

func (l *link) close() {
	l.client.Close()
	l.server.Close()
}

// join passes bytes on until both sides have ended, one of them failed, or ctx ended.
func (l *link) join(ctx context.Context) {
	defer l.close()
	stop := context.AfterFunc(ctx, l.close)
	defer stop()
	var answers sync.WaitGroup
	answers.Go(func() { l.pass(l.client, l.server) })
	l.pass(l.server, l.client)
	answers.Wait()
}

// pass copies within the kernel, as both are TCP connections, and passes the end on too: the other direction may have
// more to say.
func (l *link) pass(to, from *net.TCPConn) {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		l.close()
	}
}
