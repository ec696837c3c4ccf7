package cmd

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap/server"
)

func newPrepare(o *options) *cobra.Command {
	var h server.Host
	var bundle bundleFlags
	var output outputFormat
	c := &cobra.Command{
		Use: "prepare", Short: "Put what kubeadm needs on this server, from the bundle",
		Long: "Installs the container runtime, the kubelet, kubeadm and all images from the bundle, and sets the kernel up, so that\n" +
			"`kubeadm join` works without downloading anything, and `kubeadm init` too if its configuration names the bundle's etcd and\n" +
			"CoreDNS (docs/servers.md). `slipway reset` takes it back after `kubeadm reset`. `slipway init` and `slipway join` do not\n" +
			"need it.",
		Example: "  slipway prepare --bundle /media/bundle\n  kubeadm join 10.0.0.1:6443 --token ...",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if h.Bundle, err = bundle.choose(o); err != nil {
				return err
			}
			h.Registry = bundle.registry
			show, finish := showEvents(o, output)
			err = server.Prepare(c.Context(), h, show)
			finish()
			if err != nil || output == "json" {
				return err
			}
			_, err = fmt.Fprintln(o.Stdout, "this server is ready for kubeadm")
			return err
		},
	}
	bundle.add(c)
	c.Flags().DurationVar(&h.Wait, "wait", 5*time.Minute, "how long it may take")
	outputFlag(c, &output)
	return c
}
