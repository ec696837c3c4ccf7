package cmd

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/cmd/localcluster"
	"slipway.dev/slipway/internal/fault"
)

func (o *options) dirs() localcluster.Dirs {
	return localcluster.Dirs{Cache: o.CacheDir, State: o.StateDir, Run: o.RunDir}
}

func newUp(o *options) *cobra.Command {
	var u localcluster.Options
	var output outputFormat
	var subnet, pods, services string
	c := &cobra.Command{
		Use:   "up",
		Short: "Launch a cluster on this computer",
		Long: "Makes machines on this computer (containers with systemd, on a bridge of their own), launches a cluster on them and\n" +
			"merges its kubeconfig into $KUBECONFIG or ~/.kube/config as context slipway-NAME. Needs root. Running it again\n" +
			"completes a launch that was interrupted, starts machines that were stopped, and changes nothing on a cluster that is up.\n" +
			"If it fails, what it began is removed, unless --keep is given. What ^C interrupts is kept, and so is what was there before.",
		Example: "  slipway up\n  slipway up --name ci --workers 2 --egress=false -o json\n" +
			"  slipway up --name ci --keep || slipway logs ci --export ci-logs",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if u.Subnet, u.PodCIDR, u.ServiceCIDR, err = prefixes(subnet, pods, services); err != nil {
				return err
			}
			u.Kubeconfig = kubeconfigPath()
			show, finish := showEvents(o, output)
			start := time.Now()
			cluster, err := localcluster.Up(c.Context(), o.dirs(), u, show)
			finish()
			if err != nil {
				return err
			}
			if output == "json" {
				return nil // the events said it all
			}
			_, err = fmt.Fprintf(o.Stdout, "cluster %q is up after %.1f s: Kubernetes %s, nodes: %d, context %s\n", cluster.Name(),
				time.Since(start).Seconds(), cluster.Cluster.KubernetesVersion, len(cluster.Nodes), cluster.Context())
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&u.Name, "name", "dev", "name of the cluster")
	f.IntVar(&u.ControlPlanes, "control-planes", 1, "number of control planes, odd")
	f.IntVar(&u.Workers, "workers", 0, "number of workers; without any, control planes take workloads")
	f.StringVar(&u.Version, "kubernetes-version", "", "Kubernetes version or minor (default: the newest supported)")
	f.StringVar(&u.Bundle, "bundle", "", bundleUsage+" (default: the built one of that version)")
	registryFlags(c, &u.Registry)
	f.BoolVar(&u.Egress, "egress", true, "let the cluster reach beyond this computer")
	f.DurationVar(&u.Wait, "wait", 2*time.Minute, "how long to wait until everything is ready")
	f.BoolVar(&u.Keep, "keep", false, "keep what this run began if it fails or is not ready in time")
	f.StringVar((*string)(&u.Keys), "key-algorithm", string(certs.ECDSA), "of all keys and certificates: ecdsa (P-256) or rsa (2048 bits)")
	f.BoolVar(&u.Typha, "typha", false, "put Calico's Typha between the nodes and the API server")
	f.StringVar(&subnet, "subnet", "", "subnet of the machines, for example 10.89.7.0/24 (default: the first free one)")
	f.StringVar(&pods, "pod-cidr", bootstrap.DefaultPodCIDR, "addresses of pods")
	f.StringVar(&services, "service-cidr", bootstrap.DefaultServiceCIDR, "addresses of services")
	outputFlag(c, &output)
	return c
}

// prefixes parses the three subnets, all problems at once.
func prefixes(subnet, pods, services string) (a, b, c netip.Prefix, err error) {
	var errs [3]error
	a, errs[0] = parsePrefix("--subnet", subnet)
	b, errs[1] = parsePrefix("--pod-cidr", pods)
	c, errs[2] = parsePrefix("--service-cidr", services)
	return a, b, c, errors.Join(errs[:]...)
}

// parsePrefix wants an IPv4 network. An empty one stays the zero prefix.
func parsePrefix(flag, text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err == nil && (p != p.Masked() || !p.Addr().Is4()) {
		err = errors.New("it is not an IPv4 network")
	}
	if err != nil {
		return p, fault.New("option-invalid", fmt.Sprintf("use %s %q", flag, text), err, "see --help of the command")
	}
	return p, nil
}

func newDown(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "down NAME",
		Short:   "Remove a cluster of this computer and every trace of it",
		Example: "  slipway down dev",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := localcluster.Down(c.Context(), o.dirs(), args[0], kubeconfigPath()); err != nil {
				return err
			}
			_, err := fmt.Fprintf(o.Stderr, "cluster %q is gone\n", args[0])
			return err
		},
	}
}
