package balancer

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKeepEnds: those who waited in vain are hung up on, and the next are refused.
func TestKeepEnds(t *testing.T) {
	free, err := listen(t.Context(), "127.77.250.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	l, err := listen(t.Context(), free.Addr().String()) // only a port that was asked for is kept by a socket that does not listen
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := newDoor(l)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.keep(t.Context(), 200*time.Millisecond) }()
	var client net.Conn
	for client == nil {
		if client, err = net.Dial("tcp", l.Addr().String()); err == nil {
			break
		}
		select {
		case kept := <-ended:
			t.Fatal("nobody could wait:", kept, err)
		default:
		}
	}
	defer client.Close()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Error("a client that waited:", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Error("another client:", err)
	}
}
