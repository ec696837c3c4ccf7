package cmd

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
)

func newStatus(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "status NAME", Short: "Show a cluster's nodes, control plane, addons and certificates", Args: cobra.ExactArgs(1),
		Example: "  slipway status dev",
		RunE: func(c *cobra.Command, args []string) error {
			cluster, err := localcluster.Open(o.dirs(), args[0])
			if err != nil {
				return err
			}
			s, err := cluster.Status(c.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(o.Stdout).Encode(s)
			}
			return printStatus(o, s)
		},
	}
	outputFlag(c, &output)
	return c
}

func printStatus(o *options, s *localcluster.Status) error {
	t := tabwriter.NewWriter(o.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "cluster %s: %s\n\n", s.Name, s.State)
	fmt.Fprintln(t, "NODE\tADDRESS\tROLE\tMACHINE\tREADY\tVERSION")
	for _, n := range s.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Address, n.Role, n.Machine, n.Ready, n.Version)
	}
	fmt.Fprintln(t, "\nPOD\tNODE\tREADY\tRESTARTS")
	for _, p := range s.Pods {
		fmt.Fprintf(t, "%s\t%s\t%v\t%d\n", p.Name, p.Node, p.Ready, p.Restarts)
	}
	fmt.Fprintln(t, "\nCERTIFICATE\tNODE\tEXPIRES\tDAYS LEFT")
	for _, c := range s.Certificates {
		const day = 24 * time.Hour
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", c.Path, c.Node, c.NotAfter.Format(time.DateOnly), time.Until(c.NotAfter)/day)
	}
	return t.Flush()
}
