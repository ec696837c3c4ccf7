package balancer

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSocketOptions holds what makes the kernel notice that a peer vanished, and that only servers must answer in time.
func TestSocketOptions(t *testing.T) {
	l, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server, err := dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for name, c := range map[string]*net.TCPConn{"client": client, "server": server} {
		if option(t, c, unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0 || option(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE) > 10 {
			t.Errorf("no keepalives to the %s", name)
		}
	}
	if got := option(t, server, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != int(userTimeout/time.Millisecond) {
		t.Errorf("the server's user timeout is %d ms", got)
	}
	if got := option(t, client, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != 0 {
		t.Errorf("the client's user timeout is %d ms", got)
	}
}

func option(t *testing.T, c syscall.Conn, level, name int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var v int
	var get error
	if err := raw.Control(func(fd uintptr) { v, get = unix.GetsockoptInt(int(fd), level, name) }); err != nil || get != nil {
		t.Fatal(err, get)
	}
	return v
}
