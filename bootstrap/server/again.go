package server

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/internal/fault"
)

// same refuses to complete an interrupted run with other settings.
func (o InitOptions) same(earlier *state) error {
	s := earlier.Spec
	endpoint, err := o.endpoint(s.Node.Address)
	if err != nil {
		return err
	}
	var d differences
	if err := d.bundle(earlier, o.Bundle); err != nil {
		return err
	}
	c := s.Cluster
	d.compare("cluster name", c.Name, o.ClusterName)
	d.compare("endpoint", c.Endpoint, endpoint)
	d.compare("virtual IP", c.VirtualIP, o.VirtualIP)
	d.compare("interface of the virtual IP", s.Node.VirtualIPInterface, cmp.Or(o.VirtualIPInterface, s.Node.VirtualIPInterface))
	d.compare("pod CIDR", c.PodCIDR, o.PodCIDR)
	d.compare("service CIDR", c.ServiceCIDR, o.ServiceCIDR)
	d.compare("DNS domain", c.DNSDomain, o.DNSDomain)
	d.compare("CNI none", c.NoCNI, o.CNI == "none")
	d.compare("external etcd", strings.Join(c.ExternalEtcd, ","), strings.Join(o.ExternalEtcd.urls(), ","))
	c.Settings.Compare(o.Settings, d.compare)
	d.compare("workloads", !c.Dedicated, o.Workloads)
	d.compare("skipped steps", skipped(earlier.Skip), skipped(o.Skip))
	if !o.wants(c.KubernetesVersion) {
		d.compare("Kubernetes version", c.KubernetesVersion, o.KubernetesVersion)
	}
	if o.NodeName != "" {
		d.compare("node name", s.Node.Name, o.NodeName)
	}
	if o.Address.IsValid() {
		d.compare("address", s.Node.Address, o.Address)
	}
	return errors.Join(d...)
}

// differences are settings that an interrupted run had and this one has not. The fault of each is settings-differ.
type differences []error

func (d *differences) compare(what string, is, wanted any) {
	if is != wanted {
		*d = append(*d, fault.New("settings-differ", "complete what an earlier run began on this host",
			fmt.Errorf("that was with %s %v, this is with %v", what, is, wanted),
			"use the same settings, or take it back first with `slipway reset`"))
	}
}

func (d *differences) bundle(earlier *state, text string) error {
	asked, same, err := earlier.began(text)
	if err == nil && !same {
		d.compare("bundle", asked, text)
	}
	return err
}

func alreadyNode(op string, s *bootstrap.NodeSpec) error {
	role := "a worker"
	if s.Node.ControlPlane {
		role = "a control plane"
	}
	return fault.New("node-already", op,
		fmt.Errorf("it is %s of cluster %q, as node %q", role, s.Cluster.Name, s.Node.Name), "take it out first with `slipway reset`")
}

// skipped is the same for the same steps, however they were given.
func skipped(steps []string) string {
	return fmt.Sprint(slices.Compact(slices.Sorted(slices.Values(steps))))
}
