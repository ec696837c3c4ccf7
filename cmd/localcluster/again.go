package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

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
				fmt.Errorf("it is there already, with %s %v instead of %v", what, is, wanted),
				"use the same settings, another --name, or remove it first with `slipway down "+o.Name+"`"))
		}
	}
	k := c.Cluster
	if !c.hasSize(o.ControlPlanes, o.Workers) {
		differs("control planes", len(k.ControlPlanes), o.ControlPlanes)
		differs("workers", k.Workers, o.Workers)
	}
	differs("egress", c.Network.Egress, o.Egress)
	differs("pod CIDR", k.PodCIDR, o.PodCIDR)
	differs("service CIDR", k.ServiceCIDR, o.ServiceCIDR)
	differs("Typha", k.Typha, o.Typha)
	differs("keys", c.Keys, o.Keys)
	ports, _ := parsePorts(o.Publish) // what is wrong with them was said before
	differs("published ports", fmt.Sprint(c.Network.Ports), fmt.Sprint(ports))
	if o.Subnet.IsValid() {
		differs("subnet", c.Subnet, o.Subnet)
	}
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
	return errors.Join(errs...)
}

// hasSize tells whether there are so many nodes now, after some were added or removed.
func (c *Cluster) hasSize(controlPlanes, workers int) bool {
	for _, n := range c.Nodes {
		if n.ControlPlane {
			controlPlanes--
		} else {
			workers--
		}
	}
	return controlPlanes == 0 && workers == 0
}

// confirm is what a second `up` does: the cluster's machines run, its nodes are ready, and its context is in the
// kubeconfig.
func (c *Cluster) confirm(ctx context.Context, o Options, report engine.Report) error {
	if err := errors.Join(certs.CheckKubeconfig(o.Kubeconfig), c.forgetKeys()); err != nil {
		return err
	}
	if err := c.resume(ctx, report); err != nil {
		return err
	}
	return c.merge(o.Kubeconfig)
}

// resume starts the machines that do not run, after a restart of this computer all of them, and waits for all nodes.
func (c *Cluster) resume(ctx context.Context, report engine.Report) error {
	stopped, err := c.stopped(ctx)
	if err != nil {
		return err
	}
	began := time.Now().Truncate(time.Second) // the API's times have no fractions
	since := map[string]time.Time{}
	p := c.provider()
	if len(stopped) > 0 {
		if err := errors.Join(c.checkLayers(), p.EnsureNetwork(ctx, c.Network)); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, name := range stopped {
		since[name] = began
		g.Go(func() error {
			return engine.Run(gctx, name, []engine.Step{oneStep("machine", func(ctx context.Context, _ func(string)) error {
				_, err := p.Start(ctx, c.Name(), name)
				return err
			})}, report)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return engine.Run(ctx, "", []engine.Step{oneStep("nodes-ready", func(ctx context.Context, progress func(string)) error {
		return c.waitNodes(ctx, since, progress)
	})}, report)
}

// stopped gives the machines that do not run. That all are there is checked too.
func (c *Cluster) stopped(ctx context.Context) ([]string, error) {
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for _, m := range machines {
		running[m.Name()] = m.Running()
	}
	var out, missing []string
	for _, n := range c.Nodes {
		up, there := running[n.Name]
		switch {
		case !there:
			missing = append(missing, n.Name)
		case !up:
			out = append(out, n.Name)
		}
	}
	if len(missing) > 0 {
		return nil, fault.New("machine-missing", fmt.Sprintf("launch cluster %q", c.Name()),
			fmt.Errorf("the machines %q are gone, with what was on them", missing), "remove the cluster with `slipway down "+c.Name()+"`")
	}
	return out, nil
}

// checkLayers finds out whether what the machines are made of is still in the cache.
func (c *Cluster) checkLayers() error {
	for _, dir := range append(slices.Clone(c.Layers), c.Bundle) {
		if _, err := os.Stat(dir); err != nil {
			return fault.New("machine-files-missing", fmt.Sprintf("start the machines of cluster %q", c.Name()), err,
				"put that back, or remove the cluster with `slipway down "+c.Name()+"` and build the bundle again")
		}
	}
	return nil
}

// oneStep is a step that always has something to do.
func oneStep(name string, do func(context.Context, func(string)) error) engine.Step {
	return engine.Step{Name: name, Check: func(context.Context) ([]string, error) { return []string{name}, nil }, Do: do}
}

const pollNodes = 200 * time.Millisecond

// waitNodes waits until all nodes are ready, and those in since have said so since then. It asks instead of watching:
// the API server itself may only just be starting.
func (c *Cluster) waitNodes(ctx context.Context, since map[string]time.Time, progress func(string)) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(pollNodes)
	defer tick.Stop()
	last := ""
	for {
		why := c.notReady(ctx, client, since)
		if why == "" {
			return nil
		}
		if why != last && ctx.Err() == nil {
			last = why
			progress(why)
		}
		select {
		case <-ctx.Done():
			return fault.New("node-not-ready", fmt.Sprintf("wait for the nodes of cluster %q", c.Name()),
				fmt.Errorf("%w; last: %s", context.Cause(ctx), last), "run the same command again to go on waiting")
		case <-tick.C:
		}
	}
}

// notReady says what is missing, or nothing.
func (c *Cluster) notReady(ctx context.Context, client kubernetes.Interface, since map[string]time.Time) string {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	ready := map[string]bool{}
	for _, n := range nodes.Items {
		for _, cond := range n.Status.Conditions {
			ready[n.Name] = ready[n.Name] || cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue &&
				!cond.LastHeartbeatTime.Time.Before(since[n.Name])
		}
	}
	for _, n := range c.Nodes {
		if !ready[n.Name] {
			return "wait for node " + n.Name
		}
	}
	return ""
}
