package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/internal/fault"
)

// same refuses to complete an interrupted launch with other settings: half of it would be of each kind.
func (c *Cluster) same(o Options) error {
	if c.Bare {
		return c.sameMachines(MachineOptions{Name: o.Name})
	}
	var errs []error
	differs := func(what string, is, wanted any) {
		if is != wanted {
			errs = append(errs, fault.New("cluster-differs", fmt.Sprintf("launch cluster %q", o.Name),
				fmt.Errorf("it is there already, with %s %v instead of %v (%s)", what, is, wanted, o.saidBy(what)),
				"use the same settings, another --name, or remove it first with `slipway down "+o.Name+"`"))
		}
	}
	differs("egress", c.Network.Egress, o.Egress)
	if o.Subnet.IsValid() {
		differs("subnet", c.Subnet, o.Subnet)
	}
	ports, _ := o.ports() // what is wrong with them was said before
	differs("published ports", fmt.Sprint(c.Network.Ports), fmt.Sprint(ports))
	if o.From != "" { // which has the rest
		if c.From != o.From && !strings.HasSuffix(c.From, "/"+o.From) {
			differs("snapshot", strconv.Quote(c.From), strconv.Quote(o.From))
		}
		return errors.Join(errs...)
	}
	err := c.sameCluster(o, differs)
	return errors.Join(append(errs, err)...)
}

// sameCluster compares what a snapshot would have.
func (c *Cluster) sameCluster(o Options, differs func(what string, is, wanted any)) error {
	k := c.Cluster
	c.sameSize(o, differs)
	differs("processors of each node", c.Limits.CPUs, o.CPUs)
	differs("bytes of memory of each node", c.Limits.Memory, o.limits().Memory)
	wanted := bootstrap.Cluster{PodCIDR: o.PodCIDR, ServiceCIDR: o.ServiceCIDR, IPv6: o.IPv6}
	differs("pod CIDR", k.PodCIDRs(), wanted.PodCIDRs())
	differs("service CIDR", k.ServiceCIDRs(), wanted.ServiceCIDRs())
	differs("Typha", k.Typha, o.Typha)
	differs("keys", c.Keys, o.Keys)
	differs("registry mirrors", describe(k.Mirrors), describe(fromNodes(o.mirrors, c.Network.Gateway)))
	c.sameExtras(o, differs)
	if o.Bundle != "" {
		dir, err := bundleDir(c.dirs, o)
		if err != nil {
			return err
		}
		if c.Asked == "" || c.Asked != o.Bundle {
			differs("bundle", c.Bundle, dir)
		}
	}
	if o.Bundle == "" || o.Version != "" {
		set, err := pins.For(o.Version)
		if err != nil {
			return err
		}
		differs("Kubernetes", k.KubernetesVersion, set.Kubernetes)
	}
	return nil
}

// Size is how many nodes there are now, after some were added or removed. Machines without a cluster are none.
func (c *Cluster) Size() (controlPlanes, workers int) {
	for _, n := range c.Nodes {
		switch {
		case n.ControlPlane:
			controlPlanes++
		case !c.Bare:
			workers++
		}
	}
	return controlPlanes, workers
}

// confirm is what a second `up` does: the cluster's machines run, its nodes are ready, and its context is in the
// kubeconfig.
func (c *Cluster) confirm(ctx context.Context, o Options, report engine.Report) error {
	if err := errors.Join(certs.CheckKubeconfig(o.Kubeconfig), c.forgetKeys()); err != nil {
		return err
	}
	started, err := c.start(ctx, report)
	if err != nil {
		return err
	}
	if err := c.checkRoots(ctx); err != nil {
		return err
	}
	if err := c.settle(ctx, started, report); err != nil { // of what was up, pods are the user's own affair
		return err
	}
	if len(o.archives) > 0 {
		if _, err := c.LoadImages(ctx, o.archives, report); err != nil {
			return err
		}
	}
	return c.merge(o.Kubeconfig)
}

// checkLayers finds out whether what the machines are made of is still in the cache, and what they see of this computer is there.
func (c *Cluster) checkLayers() error {
	needed := append(slices.Clone(c.Layers), c.Bundle)
	for _, m := range c.Mounts {
		needed = append(needed, m.HostPath)
	}
	for _, share := range c.Shares {
		needed = append(needed, share.Source)
	}
	var missing []string
	for _, path := range needed {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, err.Error())
		}
	}
	if len(missing) > 0 {
		return fault.New("machine-files-missing", fmt.Sprintf("start the machines of cluster %q", c.Name()),
			errors.New(strings.Join(missing, "; ")),
			"put that back, or remove the cluster with `slipway down "+c.Name()+"` and build the bundle again")
	}
	return nil
}

// oneStep is a step that always has something to do.
func oneStep(name string, do func(context.Context, func(string)) error) engine.Step {
	return engine.Step{Name: name, Check: func(context.Context) ([]string, error) { return []string{name}, nil }, Do: do}
}
