package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/prometheus/procfs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap"
)

// Port is one that a node listens on.
type Port struct {
	Port int
	UDP  bool
	Host netip.Addr // zero for all addresses of the host
	What string     // listens there
}

func (p Port) String() string {
	if p.UDP {
		return strconv.Itoa(p.Port) + "/udp"
	}
	return strconv.Itoa(p.Port) + "/tcp"
}

// open tells whether others connect to it, who a firewall must let in.
func (p Port) open() bool { return !p.Host.IsLoopback() }

// Ports are those of a node: https://kubernetes.io/docs/reference/networking/ports-and-protocols/ and
// https://docs.tigera.io/calico/latest/getting-started/kubernetes/requirements
func Ports(controlPlane bool) []Port {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	out := []Port{
		{Port: 10250, What: "kubelet"},
		{Port: 10248, What: "the kubelet's health", Host: loopback},
		{Port: 10256, What: "kube-proxy's health"},
		{Port: 4789, What: "Calico's VXLAN", UDP: true},
		{Port: 9099, What: "Calico's health", Host: loopback},
		{Port: bootstrap.BalancerPort, What: "the load balancer for the API", Host: loopback},
	}
	if !controlPlane {
		return out
	}
	return append([]Port{
		{Port: bootstrap.APIPort, What: "kube-apiserver"},
		{Port: bootstrap.EtcdPort, What: "etcd"},
		{Port: bootstrap.EtcdPeerPort, What: "etcd's peers"},
		{Port: bootstrap.EtcdMetricsPort, What: "etcd's metrics", Host: loopback},
		{Port: bootstrap.ControllerManagerPort, What: "kube-controller-manager", Host: loopback},
		{Port: bootstrap.SchedulerPort, What: "kube-scheduler", Host: loopback},
	}, out...)
}

// WithoutEtcd leaves out those that only a member of etcd listens on.
func WithoutEtcd(all []Port) []Port {
	return slices.DeleteFunc(all, func(p Port) bool {
		return p.Port == bootstrap.EtcdPort || p.Port == bootstrap.EtcdPeerPort || p.Port == bootstrap.EtcdMetricsPort
	})
}

func ports(ctx context.Context, f Facts) []Finding {
	if f.Resuming {
		return nil
	}
	var out []Finding
	for _, p := range f.Ports {
		err := p.listen(ctx)
		switch {
		case err == nil:
		case errors.Is(err, unix.EADDRINUSE):
			out = append(out, problem("port %s, for %s, is in use%s", p, p.What, f.holder(p)))
		default:
			out = append(out, problem("nothing can listen on port %s, for %s: %v", p, p.What, err))
		}
	}
	return out
}

func (p Port) listen(ctx context.Context) error {
	host := ""
	if p.Host.IsValid() {
		host = p.Host.String()
	}
	to := net.JoinHostPort(host, strconv.Itoa(p.Port))
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

// holder names the process that has a port, if that can be found out: it may be the kernel, or one of another
// namespace.
func (f Facts) holder(p Port) string {
	proc, err := procfs.NewFS(f.path("/proc"))
	if err != nil {
		return ""
	}
	sockets := socketsOn(p)
	processes, err := proc.AllProcs()
	if err != nil {
		return ""
	}
	for _, process := range processes {
		open, err := process.FileDescriptorTargets()
		if err != nil || !slices.ContainsFunc(open, func(name string) bool { return slices.Contains(sockets, name) }) {
			continue // err: it has ended
		}
		if name, err := process.Comm(); err == nil {
			return fmt.Sprintf(" by %q, process %d", name, process.PID)
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

// socketsOn gives the names that the sockets on a port have in /proc/PID/fd.
func socketsOn(p Port) []string {
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
