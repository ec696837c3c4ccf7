package localcluster

import (
	"context"
	"errors"
	"fmt"

	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/internal/fault"
)

// same refuses to complete an interrupted launch with other settings: half of it would be of each kind.
func (c *Cluster) same(o Options) error {
	var errs []error
	differs := func(what string, is, wanted any) {
		if is != wanted {
			errs = append(errs, fault.New("cluster-differs", fmt.Sprintf("launch cluster %q", o.Name),
				fmt.Errorf("it is there already, with %s %v instead of %v", what, is, wanted),
				"use the same settings, another --name, or remove it first with `slipway down "+o.Name+"`"))
		}
	}
	k := c.Cluster
	differs("control planes", len(k.ControlPlanes), o.ControlPlanes)
	differs("workers", k.Workers, o.Workers)
	differs("egress", k.Egress, o.Egress)
	differs("pod CIDR", k.PodCIDR, o.PodCIDR)
	differs("service CIDR", k.ServiceCIDR, o.ServiceCIDR)
	differs("Typha", k.Typha, o.Typha)
	if o.Subnet.IsValid() {
		differs("subnet", c.Subnet, o.Subnet)
	}
	if o.Bundle == "" {
		set, err := pins.For(o.Version)
		if err != nil {
			return err
		}
		differs("Kubernetes", k.KubernetesVersion, set.Kubernetes)
	}
	return errors.Join(errs...)
}

// confirm is what a second `up` does: the cluster has the settings asked for, its machines run, and its context is
// in the kubeconfig.
func (c *Cluster) confirm(ctx context.Context, o Options) error {
	if err := errors.Join(c.same(o), certs.CheckKubeconfig(o.Kubeconfig)); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if _, err := c.Machine(ctx, n.Name); err != nil {
			return err
		}
	}
	admin, err := c.Kubeconfig()
	if err != nil {
		return err
	}
	return certs.MergeKubeconfig(o.Kubeconfig, c.Context(), admin)
}
