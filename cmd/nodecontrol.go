package cmd

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/bootstrap/approver"
	"slipway.dev/slipway/bootstrap/serviceip"
)

// newNodeControl runs on control planes, in a pod.
func newNodeControl(o *options) *cobra.Command {
	var approve bool
	var endpoints []string
	var addresses string
	c := &cobra.Command{
		Use: "control", Short: "Run Slipway's own controllers", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := rest.InClusterConfig()
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(cfg)
			if err != nil {
				return err
			}
			g, ctx := errgroup.WithContext(c.Context())
			if approve {
				g.Go(func() error { return runApprover(ctx, o, client, endpoints) })
			}
			if addresses != "" {
				g.Go(func() error { return runServiceIP(ctx, o, client, addresses) })
			}
			return g.Wait()
		},
	}
	f := c.Flags()
	f.BoolVar(&approve, "approve", false, "approve the serving certificates of kubelets")
	f.StringSliceVar(&endpoints, "endpoint", nil, "hosts that the API is reached by from outside, of which no worker gets a certificate")
	f.StringVar(&addresses, "service-addresses", "", "range of which Services of type LoadBalancer get an address")
	return c
}

func runApprover(ctx context.Context, o *options, client kubernetes.Interface, endpoints []string) error {
	return approver.Run(ctx, client, endpoints, func(e approver.Event) {
		fmt.Fprintf(o.Stdout, "%s %s of node %q: %s\n", e.Kind, e.Request, e.Node, e.Reason)
	})
}

// runServiceIP is known by the name of its host, and by another one after each start: the one before may not have ended.
func runServiceIP(ctx context.Context, o *options, client kubernetes.Interface, addresses string) error {
	p, err := netip.ParsePrefix(addresses)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	identity := host + "_" + string(uuid.NewUUID())
	return serviceip.Run(ctx, client, serviceip.Config{Addresses: p, Identity: identity, Report: func(e serviceip.Event) {
		fmt.Fprintln(o.Stdout, e)
	}})
}
