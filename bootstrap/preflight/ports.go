package preflight

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/internal/hostnet"
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
		err := p.onHost().Try(ctx)
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

func (p Port) onHost() hostnet.Port {
	host := hostnet.Port{Port: p.Port, UDP: p.UDP}
	if p.Host.IsValid() {
		host.Host = p.Host.String()
	}
	return host
}

// holder names the process that has a port, if that can be found out.
func (f Facts) holder(p Port) string {
	if name := p.onHost().Holder(f.path("/proc")); name != "" {
		return " by " + name
	}
	return ""
}
