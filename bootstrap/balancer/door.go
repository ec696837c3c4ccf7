package balancer

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// knockEvery is how often a server is tried while clients are refused: they wait for it, a control plane that starts for one.
	knockEvery = 100 * time.Millisecond
	// knockFor ends that haste: a server that has not come back by then is asked as often as any, by all nodes of a large cluster.
	knockFor = time.Minute
	// keepFor is how long clients are kept waiting for the first server. It is less than the 10 s after which Go's clients give a TLS
	// handshake up.
	keepFor = 8 * time.Second
	// backlog is how many clients may wait to be accepted; the kernel's own limit, net.core.somaxconn, is the same by default.
	backlog = 4096
)

// door is a port to listen on that can be shut without giving it away. A client that is refused knows at once that nobody is
// there. One that is accepted and then hung up on may think that it met a server which broke off: client-go asks again
// ten times, a second apart, and kubelet and the network plugins wait for that.
type door struct {
	*net.TCPListener

	mu     sync.Mutex
	shutAt time.Time     // zero while it is open
	opened chan struct{} // closed while it is open
	times  int           // it was opened
}

// newDoor takes the port of a listener. It is shut.
func newDoor(l *net.TCPListener) (*door, error) {
	d := &door{TCPListener: l, opened: make(chan struct{})}
	close(d.opened)
	return d, d.shut(0)
}

// shut has the kernel refuse clients, also those that wait to be accepted. AcceptTCP fails from then on. It is told how often the door had
// been opened when what calls for this began: one that was opened again since stays open.
func (d *door) shut(times int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.shutAt.IsZero() || d.times != times {
		return nil
	}
	if err := d.refuse(); err != nil {
		return err
	}
	d.shutAt, d.opened = time.Now(), make(chan struct{})
	return nil
}

func (d *door) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shutAt.IsZero() {
		return nil
	}
	if err := d.listen(); err != nil {
		return err
	}
	d.shutAt = time.Time{}
	d.times++
	close(d.opened)
	return nil
}

// keep lets clients come who are not accepted until the door is opened. When they have waited for so long they are hung up on, and from
// then on all are refused again. When ctx ends, so does the door.
func (d *door) keep(ctx context.Context, patience time.Duration) error {
	d.mu.Lock()
	opened, err := d.opened, error(nil)
	if !d.shutAt.IsZero() {
		err = d.listen()
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-opened:
		return nil
	case <-time.After(patience):
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opened != opened || d.shutAt.IsZero() {
		return nil
	}
	return d.refuse()
}

// opening is how often the door was opened.
func (d *door) opening() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.times
}

// wait gives true as soon as the door is open, or false when ctx ends.
func (d *door) wait(ctx context.Context) bool {
	d.mu.Lock()
	opened := d.opened
	d.mu.Unlock()
	select {
	case <-ctx.Done():
		return false
	case <-opened:
		return true
	}
}

func (d *door) isShut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.shutAt.IsZero()
}

// patience is how long to wait until a server is tried again.
func (d *door) patience() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.shutAt.IsZero() && time.Since(d.shutAt) < knockFor {
		return knockEvery
	}
	return askEvery
}

func (d *door) control(f func(fd int) error) error {
	c, err := d.SyscallConn()
	if err != nil {
		return err
	}
	var did error
	return errors.Join(c.Control(func(fd uintptr) { did = f(int(fd)) }), did)
}

func (d *door) listen() error {
	return d.control(func(fd int) error { return errors.Join(reuse(fd, 1), unix.Listen(fd, backlog)) })
}

// refuse ends the listening of the socket and keeps its port, which Linux can. That others may use it as well, as far as nobody
// listens, is for connections of the time before.
func (d *door) refuse() error {
	return d.control(func(fd int) error { return errors.Join(unix.Shutdown(fd, unix.SHUT_RD), reuse(fd, 0)) })
}

func reuse(fd, value int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, value)
}
