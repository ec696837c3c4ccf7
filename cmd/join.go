package cmd

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap/server"
)

func newJoin(o *options) *cobra.Command {
	var j server.JoinOptions
	var flags hostFlags
	c := &cobra.Command{
		Use: "join [ENDPOINT]", Short: "Make this server a node of a cluster that runs",
		Long: "Makes the server that it runs on a worker, or with --control-plane a control plane, of the cluster at ENDPOINT\n" +
			"(host:port of its API), which slipway or kubeadm made. `slipway init` and `slipway token create --print-join-command`\n" +
			"print the whole command. Nothing is written before the cluster has proved to be the right one.\n" +
			"`slipway init --dry-run` lists the steps that --skip can leave out; here, --dry-run lists those of this server.",
		Example: "  slipway join 10.0.0.1:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:HASH\n" +
			"  slipway join --discovery-file cluster.conf --token abcdef.0123456789abcdef\n" +
			"  slipway join --config join.yaml" + exampleOf("join.yaml (mode 0600: it has secrets)", "docs/servers-config.md", joinExample),
		Args:    cobra.MaximumNArgs(1),
		PreRunE: func(c *cobra.Command, args []string) error { return flags.readJoin(c, &j, args) },
		RunE: func(c *cobra.Command, _ []string) error {
			if err := flags.read(o, &j.Host); err != nil {
				return err
			}
			if flags.dryRun {
				changes, err := server.PlanJoin(c.Context(), j)
				return printChanges(o, flags.output, changes, err)
			}
			show, finish := showEvents(o, flags.output)
			cluster, err := server.Join(c.Context(), j, show)
			finish()
			if err != nil {
				return err
			}
			return printJoin(o, flags.output, cluster)
		},
	}
	flags.add(c, &j.Host)
	f := c.Flags()
	discoveryFlags(c, &j)
	f.BoolVar(&j.ControlPlane, "control-plane", false, "join as a control plane; with --certificate-key")
	return c
}

func printJoin(o *options, output outputFormat, c *server.Cluster) error {
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(c)
	}
	text := "this server is node %q of cluster %q: Kubernetes %s, API https://%s\n"
	if c.Already {
		text = "nothing was changed: " + text
	}
	_, err := fmt.Fprintf(o.Stdout, text, c.NodeName, c.Name, c.KubernetesVersion, c.Endpoint)
	return err
}
