package local

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestDialUnix: a machine has this process's root here, and may have put a link where its socket was.
func TestDialUnix(t *testing.T) {
	dir := t.TempDir()
	socket, link := filepath.Join(dir, "socket"), filepath.Join(dir, "link")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink(socket, link); err != nil {
		t.Fatal(err)
	}
	m := &Machine{provider: &Provider{}, state: Running, pid: os.Getpid()}
	conn, err := m.DialUnix(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if conn, err := m.DialUnix(t.Context(), link); err == nil {
		conn.Close()
		t.Error("it followed a link")
	}
}
