package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Dial connects to an address, host:port without names, from inside the machine's network
// namespace: 127.0.0.1 is the machine's own.
func (m *Machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	// A name would be resolved on other threads, which are not in the namespace.
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial %q on machine %q: %w", address, m.Name(), err)
	}
	var conn net.Conn
	err := inNetns(enterNamed(m.id()), func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reach machine %q: %w", m.Name(), err)
	}
	return conn, nil
}

// DialUnix connects to a socket in the running machine's file system. Symbolic links on the way must be relative ones, and the
// socket itself is none.
func (m *Machine) DialUnix(ctx context.Context, name string) (net.Conn, error) {
	conn, err := m.dialUnix(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reach %q on machine %q: %w", name, m.Name(), err)
	}
	return conn, nil
}

func (m *Machine) dialUnix(ctx context.Context, name string) (net.Conn, error) {
	if !m.Running() {
		return nil, errors.New("it does not run")
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", m.pid))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	socket, err := root.OpenFile(strings.TrimPrefix(path.Clean("/"+name), "/"), unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	// By its descriptor it is short, as a socket's name has to be, and nothing leads out of the machine: no link is followed.
	return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", socket.Fd()))
}

// Put writes a file in the running machine, in one step, making the directories above it. The
// path is followed as the machine sees it, its binds and /run included; symbolic links in it
// must be relative ones.
func (m *Machine) Put(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	if err := m.put(ctx, name, mode, r); err != nil {
		return fmt.Errorf("put %q on machine %q: %w", name, m.Name(), err)
	}
	return nil
}

func (m *Machine) put(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	if !m.Running() {
		return errors.New("it does not run")
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", m.pid))
	if err != nil {
		return err
	}
	defer root.Close()
	inside := strings.TrimPrefix(path.Clean("/"+name), "/")
	if err := root.MkdirAll(path.Dir(inside), 0o755); err != nil {
		return err
	}
	part := path.Join(path.Dir(inside), "."+path.Base(inside)+"."+newMachineID()[:8])
	if err := writeInRoot(ctx, root, part, mode, r); err != nil {
		_ = root.Remove(part)
		return err
	}
	return root.Rename(part, inside)
}

func writeInRoot(ctx context.Context, root *os.Root, name string, mode fs.FileMode, r io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, &contextReader{ctx, r})
	err = errors.Join(err, f.Chmod(mode)) // whatever the umask is
	return errors.Join(err, f.Close())
}

// contextReader ends with its context, between two reads.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it lives for one copy
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
