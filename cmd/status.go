package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
)

func newStatus(o *options) *cobra.Command {
	var output outputFormat
	ofCluster := onCluster(o, func(ctx context.Context, cluster *localcluster.Cluster, _ []string) error {
		s, err := cluster.Status(ctx)
		if s == nil {
			return err
		}
		if output == "json" {
			return errors.Join(json.NewEncoder(o.Stdout).Encode(s), err)
		}
		return errors.Join(printStatus(o, s), err)
	})
	c := &cobra.Command{
		Use: "status [NAME]", Short: "Show a cluster's nodes, control plane, addons and certificates, or how this server is as a node",
		Long: "With NAME, that of a cluster on this computer: its nodes, control plane, addons and certificates.\n" +
			"Without NAME, on a server that is a node: what it is, and in short how it is; `slipway doctor` says more.",
		Args:    cobra.MaximumNArgs(1),
		Example: "  slipway status dev\n  slipway status",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return examine(c.Context(), o, output, printSummary)
			}
			return ofCluster(c, args)
		},
	}
	outputFlag(c, &output)
	return c
}

func printStatus(o *options, s *localcluster.Status) error {
	t := tabwriter.NewWriter(o.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "cluster %s: %s\n", s.Name, s.State)
	for _, p := range s.Ports {
		fmt.Fprintf(t, "published: %s\n", p)
	}
	for _, what := range s.Unfinished {
		fmt.Fprintf(t, "note: %s\n", what)
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "NODE\tADDRESS\tROLE\tMACHINE\tREADY\tVERSION")
	for _, n := range s.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Address, n.Role, n.Machine, n.Ready, n.Version)
	}
	fmt.Fprintln(t, "\nCONTROL PLANE\tNODE\tHEALTHY")
	for _, p := range s.ControlPlane {
		fmt.Fprintf(t, "%s\t%s\t%s\n", p.Name, p.Node, cmp.Or(p.Message, "yes"))
	}
	fmt.Fprintln(t, "\nADDON\tREADY")
	for _, a := range s.Addons {
		fmt.Fprintf(t, "%s\t%d of %d\n", a.Name, a.Ready, a.Want)
	}
	fmt.Fprintln(t, "\nCERTIFICATE\tNODE\tEXPIRES\tDAYS LEFT")
	for _, c := range s.Certificates {
		const day = 24 * time.Hour
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", c.Path, c.Node, c.NotAfter.Format(time.DateOnly), time.Until(c.NotAfter)/day)
	}
	return t.Flush()
}
