package localcluster

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

// Options say what cluster to launch.
type Options struct {
	Name                   string
	ControlPlanes, Workers int
	Bundle                 string // directory; empty: the default one of Version
	Version                string // minor or full version; empty: the default
	Egress                 bool
	Subnet                 netip.Prefix // of the machines; zero: the first free one
	PodCIDR, ServiceCIDR   netip.Prefix
	Typha                  bool
	Keys                   certs.Algorithm
	Wait                   time.Duration
	Kubeconfig             string // the file that the cluster's context is merged into
}

// The ranges that kubeadm's users know, and a pool for machines, out of which each cluster takes a /24.
const (
	DefaultPodCIDR     = "10.244.0.0/16"
	DefaultServiceCIDR = "10.96.0.0/16"
	subnetPool         = "10.89.0.0/16"
	subnetBits         = 24
)

// maxNodes keeps all machines of a cluster inside its /24.
const maxNodes = 100

func (o Options) validate() error {
	errs := []error{CheckName(o.Name)}
	bad := func(what string, err error) {
		errs = append(errs, fault.New("option-invalid", what, err, "see `slipway up --help`"))
	}
	if o.ControlPlanes < 1 || o.ControlPlanes%2 == 0 {
		bad(fmt.Sprintf("use --control-planes %d", o.ControlPlanes), errors.New("etcd wants an odd number of members"))
	}
	if o.Workers < 0 || o.ControlPlanes+o.Workers > maxNodes {
		bad(fmt.Sprintf("use --workers %d", o.Workers), fmt.Errorf("a local cluster has at most %d nodes", maxNodes))
	}
	if o.Keys != certs.ECDSA && o.Keys != certs.RSA {
		bad(fmt.Sprintf("use --key-algorithm %q", o.Keys), fmt.Errorf("it is %q or %q", certs.ECDSA, certs.RSA))
	}
	if o.Wait <= 0 {
		bad(fmt.Sprintf("use --wait %v", o.Wait), errors.New("it is not a time to wait"))
	}
	for _, r := range o.checkRanges() {
		if r.err != nil {
			bad(fmt.Sprintf("use %s %v", r.flag, r.value), r.err)
		}
	}
	return errors.Join(errs...)
}

type rangeCheck struct {
	flag  string
	value netip.Prefix
	err   error
}

func (o Options) checkRanges() []rangeCheck {
	out := []rangeCheck{
		{"--subnet", o.Subnet, o.checkSubnet()},
		{"--pod-cidr", o.PodCIDR, o.checkPods()},
		{"--service-cidr", o.ServiceCIDR, o.checkServices()},
	}
	if o.PodCIDR.Overlaps(o.ServiceCIDR) || overlaps(o.Subnet, o.PodCIDR) {
		out = append(out, rangeCheck{"--pod-cidr", o.PodCIDR, fmt.Errorf("it overlaps nodes %v or services %v", o.Subnet, o.ServiceCIDR)})
	}
	if overlaps(o.Subnet, o.ServiceCIDR) {
		out = append(out, rangeCheck{"--service-cidr", o.ServiceCIDR, fmt.Errorf("it overlaps nodes %v", o.Subnet)})
	}
	return out
}

// checkSubnet wants an address for each node, besides those of the network, the bridge and broadcasts.
func (o Options) checkSubnet() error {
	if need := o.ControlPlanes + o.Workers + 3; o.Subnet.IsValid() && addresses(o.Subnet) < need {
		return fmt.Errorf("it has %d addresses, %d are needed", addresses(o.Subnet), need)
	}
	return nil
}

// checkPods wants one of Calico's blocks for each node: https://docs.tigera.io/calico/latest/reference/resources/ippool#block-sizes
func (o Options) checkPods() error {
	const block = 64
	if need := block * (o.ControlPlanes + o.Workers); addresses(o.PodCIDR) < need {
		return fmt.Errorf("it has %d addresses, these nodes need at least %d", addresses(o.PodCIDR), need)
	}
	return nil
}

// checkServices wants room for the DNS service, which has the tenth address, and no more than an API server takes.
func (o Options) checkServices() error {
	if bits := o.ServiceCIDR.Bits(); bits < 12 || bits > 28 {
		return errors.New("it must have between 12 and 28 bits")
	}
	return nil
}

// addresses is the size of a prefix, 0 for none.
func addresses(p netip.Prefix) int {
	if !p.IsValid() {
		return 0
	}
	return 1 << (p.Addr().BitLen() - p.Bits())
}

func overlaps(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }
