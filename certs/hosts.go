package certs

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
)

const apiPort = "6443"

// Cluster is what all certificates of a cluster have in common.
type Cluster struct {
	Name      string
	DNSDomain string     // for example cluster.local
	ServiceIP netip.Addr // of the service "kubernetes": the first of the service range
	Endpoint  string     // https://host:port, where nodes reach the API
	ExtraSANs []string   // more names and addresses of the API server
	// NodeAPI is where kubelets reach the API, if not at Endpoint or, on a control plane, at its own.
	NodeAPI string
	// ExternalEtcd is set where etcd is not the cluster's own: its authority and the client's certificate come from whoever
	// runs it, and lie where the cluster's own would.
	ExternalEtcd bool
}

// External names the authorities that are somebody else's: what they sign is neither made nor renewed here.
func (c Cluster) External() []string {
	if c.ExternalEtcd {
		return []string{EtcdCA}
	}
	return nil
}

// Node is one host of the cluster.
type Node struct {
	Name         string
	Addresses    []netip.Addr // the first is the one it advertises
	ControlPlane bool
}

func loopback() []string { return []string{"localhost", "127.0.0.1", "::1"} }

// apiHosts has loopback too, unlike kubeadm's: nodes reach the API through a load balancer on
// their own loopback, and must verify the name they dial.
func apiHosts(c Cluster, n Node) []string {
	hosts := []string{n.Name, "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	if c.DNSDomain != "" {
		hosts = append(hosts, "kubernetes.default.svc."+c.DNSDomain)
	}
	if c.ServiceIP.IsValid() {
		hosts = append(hosts, c.ServiceIP.String())
	}
	hosts = append(hosts, addresses(n)...)
	if u, err := url.Parse(c.Endpoint); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	return unique(append(append(hosts, loopback()...), c.ExtraSANs...))
}

func etcdHosts(_ Cluster, n Node) []string {
	return unique(append(append([]string{n.Name}, addresses(n)...), loopback()...))
}

func kubeletHosts(_ Cluster, n Node) []string {
	return unique(append([]string{n.Name}, addresses(n)...))
}

// ownAPI is the API server on the node itself, for what must not depend on another node.
func ownAPI(_ Cluster, n Node) string {
	if len(n.Addresses) == 0 {
		return ""
	}
	return "https://" + net.JoinHostPort(n.Addresses[0].String(), apiPort)
}

func sharedAPI(c Cluster, n Node) string {
	if c.Endpoint != "" {
		return c.Endpoint
	}
	return ownAPI(c, n)
}

func kubeletAPI(c Cluster, n Node) string {
	switch {
	case c.NodeAPI != "":
		return c.NodeAPI
	case n.ControlPlane:
		return ownAPI(c, n)
	}
	return c.Endpoint
}

func addresses(n Node) []string {
	var out []string
	for _, a := range n.Addresses {
		out = append(out, a.Unmap().WithZone("").String())
	}
	return out
}

func unique(hosts []string) []string {
	var out []string
	for _, h := range hosts {
		if h != "" && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}
