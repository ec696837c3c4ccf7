package localcluster

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
)

// Options say what cluster to launch.
type Options struct {
	Name                   string
	ControlPlanes, Workers int
	Bundle                 string // directory, or reference to a registry; empty: the default one of Version
	Registry               registry.Options
	Version                string // minor or full version; empty: the default
	Egress                 bool
	Subnet                 netip.Prefix // of the machines; zero: the first free one
	PodCIDR, ServiceCIDR   netip.Prefix
	Typha                  bool
	Keys                   certs.Algorithm
	Wait                   time.Duration
	Keep                   bool   // what could not be completed
	Kubeconfig             string // the file that the cluster's context is merged into
}

// The pool for machines, out of which each cluster takes a /24.
const (
	subnetPool = "10.89.0.0/16"
	subnetBits = 24
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
	if err := checkSubnet(o.Subnet, o.ControlPlanes+o.Workers); err != nil {
		bad(fmt.Sprintf("use --subnet %v", o.Subnet), err)
	}
	for _, r := range bootstrap.CheckRanges(o.Subnet, o.PodCIDR, o.ServiceCIDR, o.ControlPlanes+o.Workers) {
		bad(fmt.Sprintf("use %s %v", r.Flag, r.Value), r.Err)
	}
	return errors.Join(errs...)
}

// checkSubnet wants an address for each node, besides those of the network, the bridge, what control planes share, and broadcasts.
func checkSubnet(subnet netip.Prefix, nodes int) error {
	if need := nodes + 4; subnet.IsValid() && bootstrap.Addresses(subnet) < need {
		return fmt.Errorf("it has %d addresses, %d are needed", bootstrap.Addresses(subnet), need)
	}
	return nil
}
