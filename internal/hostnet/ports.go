package hostnet

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/prometheus/procfs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Port is one of this host.
type Port struct {
	Host string // address; empty for all of the host
	Port int
	UDP  bool
}

// Try listens on the port for a moment. The error is EADDRINUSE where somebody does that already.
func (p Port) Try(ctx context.Context) error {
	to := net.JoinHostPort(p.Host, strconv.Itoa(p.Port))
	var config net.ListenConfig
	if p.UDP {
		conn, err := config.ListenPacket(ctx, "udp", to)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	listener, err := config.Listen(ctx, "tcp", to)
	if err != nil {
		return err
	}
	return listener.Close()
}

// Holder names the process that has the port, by a mounted proc(5). It is empty if that cannot be found out: it may be the
// kernel, or a process of another namespace.
func (p Port) Holder(proc string) string {
	fs, err := procfs.NewFS(proc)
	if err != nil {
		return ""
	}
	sockets := p.sockets()
	processes, err := fs.AllProcs()
	if err != nil {
		return ""
	}
	for _, process := range processes {
		open, err := process.FileDescriptorTargets()
		if err != nil || !slices.ContainsFunc(open, func(name string) bool { return slices.Contains(sockets, name) }) {
			continue // err: it has ended
		}
		if name, err := process.Comm(); err == nil {
			return fmt.Sprintf("%q, process %d", name, process.PID)
		}
	}
	return ""
}

// The states of sockets that hold a port: include/net/tcp_states.h of the kernel. A UDP socket that is not
// connected has that of a closed one.
const (
	tcpListening = 10
	udpUnbound   = 7
)

// sockets gives the names that the sockets on the port have in /proc/PID/fd.
func (p Port) sockets() []string {
	list, state := netlink.SocketDiagTCP, uint8(tcpListening)
	if p.UDP {
		list, state = netlink.SocketDiagUDP, udpUnbound
	}
	var out []string
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, _ := list(family) // a kernel that cannot list them only leaves the holder without a name
		for _, s := range sockets {
			if s.State == state && int(s.ID.SourcePort) == p.Port {
				out = append(out, fmt.Sprintf("socket:[%d]", s.INode))
			}
		}
	}
	return out
}
