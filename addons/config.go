package addons

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// VXLAN modes of Calico's pool.
const (
	// VXLANAlways encapsulates all traffic between nodes. It is the default because it asks nothing
	// of the network below but UDP between the nodes.
	VXLANAlways = "Always"
	// VXLANCrossSubnet sends unencapsulated between nodes of one subnet. It is faster, and wants a
	// network that lets pod addresses pass (no source checks, no fence around the pod CIDR).
	VXLANCrossSubnet = "CrossSubnet"
)

// Config says how the addons of one cluster are to be.
type Config struct {
	PodCIDR     netip.Prefix
	PodCIDR6    netip.Prefix // that of a cluster that has IPv6 besides, or zero
	ServiceCIDR netip.Prefix
	DNSIP       netip.Addr // cluster IP of the DNS service, inside ServiceCIDR
	DNSDomain   string     // for example "cluster.local"

	// APIHost and APIPort reach the API server from a node before anything programs service routes.
	// They may be a load balancer on the node's loopback; then only pods on the host network use them.
	APIHost string
	APIPort int

	// Approver signs off the serving certificates of kubelets that join. None but control planes get one for VirtualIP, if
	// there is one, and DirectHost.
	Approver  bool
	VirtualIP netip.Addr

	// LoadBalancers are the addresses of Services of type LoadBalancer; without any, nobody gives them one.
	LoadBalancers netip.Prefix
	// NodePortsEverywhere has NodePorts answer at every address of a node, not only at the first of its Node's. An address that
	// moves between nodes is none of these.
	NodePortsEverywhere bool

	// DirectHost and DirectPort are for nodes without BalancerLabel, where APIHost means nothing; empty where all nodes
	// are alike.
	DirectHost string
	DirectPort int

	// PluginInstalled says that every node has Calico's CNI plugin, and PluginConfiguration under the name StagedConfiguration, when
	// the kubelet starts.
	PluginInstalled bool

	Images            map[string]string // component of the bundle -> image reference
	KubernetesVersion string
	FeatureGates      map[string]bool // of kube-proxy
	ControlPlanes     int
	Nodes             int // all nodes, control planes included

	UpstreamDNS     bool   // forward other names to the node's resolvers; false where there are none
	Typha           bool   // put Typha between Felix and the API server
	VXLANMode       string // VXLANAlways (also when empty) or VXLANCrossSubnet
	ConntrackLimits bool   // let kube-proxy set the kernel's conntrack limits
	MTU             int    // of pods and of the tunnel; 0: Calico derives it from the node's interface
}

// apiServer is the URL of the API server as a node reaches it.
func (c Config) apiServer() string {
	return "https://" + net.JoinHostPort(c.APIHost, strconv.Itoa(c.APIPort))
}

// apiOnLoopback says whether APIHost means something else inside a pod's own network namespace.
func (c Config) apiOnLoopback() bool {
	ip, err := netip.ParseAddr(c.APIHost)
	return c.APIHost == "localhost" || (err == nil && ip.IsLoopback())
}

func (c Config) vxlanMode() string {
	if c.VXLANMode == "" {
		return VXLANAlways
	}
	return c.VXLANMode
}

// podCIDRs is one network of pods, or one of each family, as flags have them.
func (c Config) podCIDRs() string {
	if !c.PodCIDR6.IsValid() {
		return c.PodCIDR.String()
	}
	return c.PodCIDR.String() + "," + c.PodCIDR6.String()
}

// image is the reference of a component's image.
func (c Config) image(component string) (string, error) {
	ref := c.Images[component]
	if ref == "" {
		return "", fmt.Errorf("no image for component %q", component)
	}
	return ref, nil
}

// validate reports everything that is wrong at once.
func (c Config) validate() error {
	return errors.Join(c.validateNetwork(), c.validateAPI(), c.validateSize())
}

func (c Config) validateNetwork() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !c.PodCIDR.IsValid() || !c.PodCIDR.Addr().Is4() {
		bad("pod CIDR %q is not an IPv4 prefix", c.PodCIDR)
	}
	if p := c.PodCIDR6; p.IsValid() && !p.Addr().Is6() {
		bad("second pod CIDR %q is not an IPv6 prefix", p)
	}
	if !c.ServiceCIDR.IsValid() || !c.ServiceCIDR.Contains(c.DNSIP) {
		bad("DNS address %q is not inside the service CIDR %q", c.DNSIP, c.ServiceCIDR)
	}
	if c.DNSDomain == "" {
		bad("DNS domain is empty")
	}
	if m := c.vxlanMode(); m != VXLANAlways && m != VXLANCrossSubnet {
		bad("VXLAN mode %q is neither %s nor %s", m, VXLANAlways, VXLANCrossSubnet)
	}
	if c.MTU < 0 || c.MTU > 65535 {
		bad("MTU %d is out of range", c.MTU)
	}
	return errors.Join(errs...)
}

func (c Config) validateAPI() error {
	if c.APIHost == "" || c.APIPort < 1 || c.APIPort > 65535 {
		return fmt.Errorf("API server address %q is not a host and a port", c.apiServer())
	}
	return nil
}

func (c Config) validateSize() error {
	if c.Nodes < 1 || c.ControlPlanes > c.Nodes {
		return fmt.Errorf("%d nodes with %d control planes is not a cluster", c.Nodes, c.ControlPlanes)
	}
	return nil
}
