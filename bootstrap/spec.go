package bootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/settings"
)

// SpecVersion is the version of the node specification's format.
const SpecVersion = 1

// The ports of a control plane: https://kubernetes.io/docs/reference/networking/ports-and-protocols/
// The last three are open on loopback only; etcd's metrics and health are without TLS there.
const (
	APIPort               = 6443
	EtcdPort              = 2379
	EtcdPeerPort          = 2380
	EtcdMetricsPort       = 2381
	ControllerManagerPort = 10257
	SchedulerPort         = 10259
)

// The ConfigMap in kube-system, and the key in it, where a cluster keeps what Slipway knows of it, as JSON.
const (
	ClusterConfigMap = "slipway-config"
	ClusterConfigKey = "cluster"
)

// BalancerPort is where the load balancer for the API listens on the loopback of every node that has one.
const BalancerPort = 6444

// EncryptionConfig is where the API servers' encryption configuration lies. All control planes hold the same.
const EncryptionConfig = "/etc/kubernetes/apiserver/encryption.yaml"

// NodeSpec is everything that one host must know to become its node of a cluster. It holds secrets.
type NodeSpec struct {
	Version int     `json:"v"`
	Cluster Cluster `json:"cluster"`
	Node    Node    `json:"node"`
	// Bundle is the directory of the bundle on the host.
	Bundle string `json:"bundle"`
	// Servers are the API servers, as host:port, that a node knows to begin with.
	Servers []string `json:"servers,omitempty"`
	// Invite is what the node that makes the cluster's objects lets other hosts join with.
	Invite *Invite `json:"invite,omitempty"`
	// Files are the node's identity (certificates, kubeconfigs) and, on a control plane, the
	// secrets that all API servers share. They are written with their modes, 0600 for secrets.
	Files []engine.File `json:"files"`
	// Kept is set for a node that is to be changed, and not made: its identity is on the host, and Files has nothing of it.
	Kept bool `json:"kept,omitempty"`
	// Copied are all nodes, where the host's disk, and with it the data of etcd, is a copy of another cluster's.
	Copied []Node `json:"copied,omitempty"`
}

// Cluster is what all nodes of a cluster know of it.
type Cluster struct {
	Name              string       `json:"name"`
	KubernetesVersion string       `json:"kubernetesVersion"` // with the leading v
	PodCIDR           netip.Prefix `json:"podCIDR"`
	ServiceCIDR       netip.Prefix `json:"serviceCIDR"`
	IPv6              IPv6         `json:"ipv6,omitzero"`
	DNSDomain         string       `json:"dnsDomain"`
	Endpoint          string       `json:"endpoint"` // host:port of the API for all who are not a control plane
	ControlPlanes     []Member     `json:"controlPlanes"`
	Workers           int          `json:"workers"`
	UpstreamDNS       bool         `json:"upstreamDNS"` // names outside the cluster are asked of the nodes' resolvers
	Typha             bool         `json:"typha,omitempty"`
	// ExtraSANs are further names and addresses that the API servers' certificates are good for.
	ExtraSANs []string `json:"extraSANs,omitempty"`
	// VirtualIP is an address of the API that one of the control planes holds, with the prefix that its link gets it with.
	VirtualIP netip.Prefix `json:"virtualIP,omitzero"`
	// LoadBalancers are the addresses that Services of type LoadBalancer get; without any, nobody gives them one.
	LoadBalancers netip.Prefix `json:"loadBalancers,omitzero"`
	// Kubeadm is set for a cluster that kubeadm made: its control planes have what kubeadm gives them.
	Kubeadm bool `json:"kubeadm,omitempty"`
	// Balanced gives every node a load balancer for the API on its own loopback, which follows the control planes.
	Balanced bool `json:"balanced,omitempty"`
	// Closed is set where each node's identity is made for it by whoever has the authorities' keys. Nobody joins with a token, and
	// there is nothing in the cluster for those who do.
	Closed bool `json:"closed,omitempty"`
	// Alone is set while there is one control plane whose parts need not agree with others: its etcd elects itself at once, and its
	// controllers lead without a lease. It is taken back before a second one joins, which costs a restart of those parts.
	Alone bool `json:"alone,omitempty"`
	// ExternalEtcd are the URLs of an etcd that the cluster does not run itself; without any, each control plane runs a member.
	ExternalEtcd []string `json:"externalEtcd,omitempty"`
	// Dedicated keeps control planes free of workloads.
	Dedicated bool `json:"dedicated,omitempty"`
	// NoCNI leaves the pods' network to the administrator: nodes are ready when he has installed one.
	NoCNI bool `json:"noCNI,omitempty"`
	// Settings are what the components are given beyond what Slipway gives them.
	Settings settings.Settings `json:"settings,omitzero"`
	// Mirrors are registries that nodes pull images from in place of others.
	Mirrors []Mirror `json:"mirrors,omitempty"`
}

// AnyHost is the Host of a mirror for all registries that have no mirror of their own.
const AnyHost = "*"

// Mirror is a registry that is asked first for the images of another.
type Mirror struct {
	Host string `json:"host"`         // the other, as the names of images begin
	URL  string `json:"url"`          // http or https, host and port
	CA   string `json:"ca,omitempty"` // authorities that its certificate may be from, besides the host's, in PEM
	// Only is set where there is no other: nobody else is asked.
	Only bool `json:"only,omitempty"`
}

// Invite is a bootstrap token and, where control planes may join too, the key that their shared files are encrypted with.
type Invite struct {
	Token          string        `json:"token"`
	TTL            time.Duration `json:"ttl"` // nanoseconds; 0: forever
	CertificateKey string        `json:"certificateKey,omitempty"`
}

// Member is a control plane and member of etcd.
type Member struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
}

// Node is one node.
type Node struct {
	Name         string     `json:"name"`
	Address      netip.Addr `json:"address"`
	Address6     netip.Addr `json:"address6,omitzero"` // in a cluster that has IPv6 besides
	ControlPlane bool       `json:"controlPlane"`
	// Init marks the one control plane that makes the objects of the cluster.
	Init bool `json:"init,omitempty"`
	// Joins marks a control plane that is added to a cluster that runs.
	Joins bool `json:"joins,omitempty"`
	// VirtualIPInterface is the link of a control plane that gets the cluster's virtual IP.
	VirtualIPInterface string `json:"virtualIPInterface,omitempty"`
	// Serving says where the kubelet's serving certificate comes from.
	Serving Serving `json:"serving,omitempty"`
	// Shared is set where the host's kernel and disk are shared with others, as a local machine's are:
	// kernel limits are left alone, and a full disk is nobody's reason to evict pods.
	Shared bool `json:"shared,omitempty"`
	// Labels and Taints are what the node registers with, beyond those of its role.
	Labels map[string]string `json:"labels,omitempty"`
	Taints []Taint           `json:"taints,omitempty"`
	// Runtime is the containerd that was on the host before; nil where there was none.
	Runtime *Runtime `json:"runtime,omitempty"`
}

// Taint keeps pods away that do not tolerate it.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// Runtime is a containerd that an administrator has on a host.
type Runtime struct {
	// Used is set where the node uses it as it is. Otherwise the bundle's takes its place until the reset.
	Used bool `json:"used,omitempty"`
	// Sandbox is the image that one which is used begins pods with.
	Sandbox string `json:"sandbox,omitempty"`
}

// UsesRuntime tells whether the node uses the containerd that was there before.
func (n Node) UsesRuntime() bool { return n.Runtime != nil && n.Runtime.Used }

// Serving is a source of a kubelet's serving certificate.
type Serving string

// The sources. Whoever makes a specification without an authority cannot use the first.
const (
	ServingFile       Serving = ""            // it is among the node's files
	ServingRequested  Serving = "requested"   // the kubelet asks the cluster, where somebody approves that
	ServingSelfSigned Serving = "self-signed" // as kubeadm's kubelets do
)

// DNSIP is the address of the DNS service: the tenth of the service network, as kubeadm has it.
func (c Cluster) DNSIP() netip.Addr { return nth(c.ServiceCIDR, 10) }

// ServiceIP is the address of the API server's own service: the first of the service network.
func (c Cluster) ServiceIP() netip.Addr { return nth(c.ServiceCIDR, 1) }

// SANs are the names and addresses that the API servers' certificates are good for, beyond those of each one.
func (c Cluster) SANs() []string {
	if !c.VirtualIP.IsValid() {
		return c.ExtraSANs
	}
	return append(slices.Clone(c.ExtraSANs), c.VirtualIP.Addr().String())
}

func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// ReadSpec reads one node specification, strictly, and says all that is wrong with it.
func ReadSpec(r io.Reader) (*NodeSpec, error) {
	var s NodeSpec
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("read node specification: %w", err)
	}
	if s.Version != SpecVersion {
		return nil, fmt.Errorf("read node specification: it has version %d, this program knows %d", s.Version, SpecVersion)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("read node specification: %w", err)
	}
	return &s, nil
}

func (s *NodeSpec) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(s.Node.Name != "", "the node has no name")
	need(s.Node.Address.IsValid(), "the node has no address")
	need(s.Bundle != "", "there is no bundle")
	need(s.Cluster.PodCIDR.IsValid(), "there is no pod CIDR")
	need(s.Cluster.ServiceCIDR.IsValid(), "there is no service CIDR")
	need(len(s.Cluster.ControlPlanes) > 0, "there is no control plane")
	need(s.Kept || len(s.Files) > 0, "the node has no identity")
	return errors.Join(errs...)
}
