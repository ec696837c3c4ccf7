package cmd

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
)

func newMachines(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "machines", Short: "Make bare machines on this computer: servers to try host tooling on",
		Long: "The machines are containers with systemd and sshd on a bridge of their own, as those of `slipway up`, but with nothing\n" +
			"on them: no container runtime, no Kubernetes. `slipway ssh`, `logs`, `list` and `down` work on them too.",
		Example: "  slipway machines up --count 3\n  slipway ssh hosts hosts-1\n  slipway down hosts",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newMachinesUp(o), newMachinesList(o))
	return c
}

func newMachinesUp(o *options) *cobra.Command {
	var m localcluster.MachineOptions
	var output outputFormat
	var subnet string
	var shares []string
	c := &cobra.Command{
		Use: "up", Short: "Make machines, or start those that are there", Args: cobra.NoArgs,
		Example: "  slipway machines up --name lab --count 3 --share /srv/bundle:/media/bundle",
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			m.Shares = parseShares(shares)
			if m.Subnet, err = parsePrefix(nil, "--subnet", subnet); err != nil {
				return err
			}
			show, finish := showEvents(o, output)
			machines, err := localcluster.UpMachines(c.Context(), o.dirs(), m, show)
			finish()
			if err != nil || output == "json" {
				return err
			}
			return printMachines(o, "text", machines)
		},
	}
	f := c.Flags()
	f.StringVar(&m.Name, "name", "hosts", "name of the group; the machines are called NAME-1, NAME-2, ...")
	f.IntVar(&m.Count, "count", 1, "number of machines")
	f.StringVar(&m.Bundle, "bundle", "", bundleUsage+" that their operating system is in (default: the built one)")
	registryFlags(c, &m.Registry)
	f.BoolVar(&m.Egress, "egress", true, "let the machines reach beyond this computer")
	f.StringVar(&subnet, "subnet", "", "subnet of the machines (default: the first free one)")
	f.StringArrayVar(&shares, "share", nil, "directory that the machines see read-only, as SOURCE or SOURCE:TARGET; may be repeated")
	f.DurationVar(&m.Wait, "wait", time.Minute, "how long to wait until they have started")
	outputFlag(c, &output)
	return c
}

// parseShares leaves judging to the options: a source without a target is seen under the same path.
func parseShares(texts []string) []localcluster.Share {
	var out []localcluster.Share
	for _, text := range texts {
		source, target, _ := strings.Cut(text, ":")
		source = absolute(source)
		out = append(out, localcluster.Share{Source: source, Target: cmp.Or(target, source)})
	}
	return out
}

func newMachinesList(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "list NAME", Short: "List the machines of a group, or of a cluster on this computer", Args: cobra.ExactArgs(1),
		Example: "  slipway machines list hosts -o json",
		RunE: func(_ *cobra.Command, args []string) error {
			machines, err := localcluster.Open(o.dirs(), args[0])
			if err != nil {
				return err
			}
			return printMachines(o, output, machines)
		},
	}
	outputFlag(c, &output)
	return c
}

func printMachines(o *options, output outputFormat, machines *localcluster.Cluster) error {
	type machine struct {
		Name    string     `json:"name"`
		Address netip.Addr `json:"address"`
	}
	rows := make([]machine, 0, len(machines.Nodes))
	for _, n := range machines.Nodes {
		rows = append(rows, machine{n.Name, n.Address})
	}
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(rows)
	}
	t := tabwriter.NewWriter(o.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tADDRESS")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\n", r.Name, r.Address)
	}
	return t.Flush()
}
