package localcluster

import (
	"context"
	"errors"
	"fmt"
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

// confirm is what a second `up` does: the cluster's machines run, and its context is in the kubeconfig.
func (c *Cluster) confirm(ctx context.Context, o Options, report engine.Report) error {
	if err := certs.CheckKubeconfig(o.Kubeconfig); err != nil {
		return err
	}
	if err := c.resume(ctx, report); err != nil {
		return err
	}
	admin, err := c.Kubeconfig()
	if err != nil {
		return err
	}
	return certs.MergeKubeconfig(o.Kubeconfig, c.Context(), admin)
}

// resume starts the machines that do not run, after a restart of this computer all of them, and waits for their nodes.
func (c *Cluster) resume(ctx context.Context, report engine.Report) error {
	machines, err := c.Machines(ctx)
	if err != nil {
		return err
	}
	began := time.Now().Truncate(time.Second) // the API's times have no fractions
	p := c.provider()
	g, gctx := errgroup.WithContext(ctx)
	var started []string
	for _, m := range machines {
		if m.Running() {
			continue
		}
		if len(started) == 0 {
			if err := p.EnsureNetwork(ctx, c.Network); err != nil {
				return err
			}
		}
		started = append(started, m.Name())
		g.Go(func() error {
			return engine.Run(gctx, m.Name(), []engine.Step{oneStep("machine", func(ctx context.Context, _ func(string)) error {
				_, err := p.Start(ctx, c.Name(), m.Name())
				return err
			})}, report)
		})
	}
	if err := g.Wait(); err != nil || len(started) == 0 {
		return err
	}
	return engine.Run(ctx, "", []engine.Step{oneStep("nodes-ready", func(ctx context.Context, progress func(string)) error {
		return c.waitNodes(ctx, started, began, progress)
	})}, report)
}

// oneStep is a step that always has something to do.
func oneStep(name string, do func(context.Context, func(string)) error) engine.Step {
	return engine.Step{Name: name, Check: func(context.Context) ([]string, error) { return []string{name}, nil }, Do: do}
}

const pollNodes = 200 * time.Millisecond

// waitNodes waits until each of these nodes has said since that time that it is ready. It asks instead of watching: the
// API server itself is only just starting.
func (c *Cluster) waitNodes(ctx context.Context, names []string, since time.Time, progress func(string)) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(pollNodes)
	defer tick.Stop()
	last := ""
	for {
		why := notReady(ctx, client, names, since)
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
func notReady(ctx context.Context, client kubernetes.Interface, names []string, since time.Time) string {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	ready := map[string]bool{}
	for _, n := range nodes.Items {
		for _, cond := range n.Status.Conditions {
			ready[n.Name] = ready[n.Name] || cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue &&
				!cond.LastHeartbeatTime.Time.Before(since)
		}
	}
	for _, name := range names {
		if !ready[name] {
			return "wait for node " + name
		}
	}
	return ""
}
