package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap/doctor"
	"slipway.dev/slipway/internal/fault"
)

func newDoctor(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "doctor [NAME]", Short: "Look at this computer, a cluster on it, or this server as a node: what is wrong, and what to do",
		Long: "With NAME, looks at that cluster of this computer: its machines, their network, the API, nodes and addons, and at each node as\n" +
			"below. Without, on a server that is a node, looks at that node: services, container runtime, control plane, etcd, API,\n" +
			"certificates, disks, network. On any other computer, looks whether clusters can be launched here, and for what former\n" +
			"ones have left. It takes a few seconds at most, works when the cluster does not, and changes nothing. It exits with 1 if\n" +
			"there is a problem.",
		Example: "  slipway doctor\n  slipway doctor dev\n  slipway doctor dev -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return examineCluster(c.Context(), o, output, args[0])
			}
			err := examine(c.Context(), o, output, printReport)
			var f *fault.Error
			if errors.As(err, &f) && f.ID == "not-a-node" {
				return examineComputer(c.Context(), o, output)
			}
			return err
		},
	}
	outputFlag(c, &output)
	return c
}

// examine looks at this host and prints what show makes of it. Where there is a problem, the fault is node-unhealthy.
func examine(ctx context.Context, o *options, output outputFormat, show func(io.Writer, *doctor.Report) error) error {
	if err := doctor.CheckRoot(); err != nil {
		return err
	}
	r, err := doctor.Look(ctx, doctor.Host{})
	if err != nil {
		return err
	}
	if output == "json" {
		err = json.NewEncoder(o.Stdout).Encode(r)
	} else {
		err = show(o.Stdout, r)
	}
	return errors.Join(err, unhealthy(r))
}

func unhealthy(r *doctor.Report) error {
	bad := r.Problems()
	if len(bad) == 0 {
		return nil
	}
	return fault.New("node-unhealthy", fmt.Sprintf("find node %q well", r.Node.Name),
		fmt.Errorf("there are problems with: %s", strings.Join(bad, ", ")), "do what `slipway doctor` says of them, from the top")
}

// printReport prints everything.
func printReport(w io.Writer, r *doctor.Report) error {
	fmt.Fprintln(w, describeNode(r.Node))
	for _, c := range r.Checks {
		printCheck(w, c)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", count(r))
	return err
}

func printCheck(w io.Writer, c doctor.Result) {
	fmt.Fprintf(w, "\n%-8s %s: %s\n", c.Level, c.Name, c.What)
	for _, f := range c.Findings {
		printFinding(w, f)
	}
}

func printFinding(w io.Writer, f doctor.Finding) {
	const indent = "           "
	fmt.Fprintf(w, "  %-8s %s\n", f.Level, f.What)
	if f.Why != "" {
		fmt.Fprintf(w, "%swhy:  %s\n", indent, strings.ReplaceAll(f.Why, "\n", "\n"+indent+"      "))
	}
	if f.Next != "" {
		fmt.Fprintf(w, "%snext: %s\n", indent, f.Next)
	}
}

// printSummary prints what belongs into a short one, and whatever is not well.
func printSummary(w io.Writer, r *doctor.Report) error {
	fmt.Fprintf(w, "%s\n\n", describeNode(r.Node))
	for _, c := range r.Checks {
		for _, f := range c.Findings {
			if c.Brief || f.Level != doctor.OK {
				fmt.Fprintf(w, "%-8s %-13s %s\n", f.Level, c.Name, f.What)
			}
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", count(r))
	return err
}

func describeNode(n doctor.Node) string {
	return fmt.Sprintf("node %s: %s of cluster %s, Kubernetes %s, API %s", n.Name, n.Role(),
		cmp.Or(n.Cluster, "(not known here)"), cmp.Or(n.KubernetesVersion, "(not known here)"), cmp.Or(n.Endpoint, "(not known here)"))
}

func count(r *doctor.Report) string {
	number := func(l doctor.Level) int {
		n := 0
		for _, c := range r.Checks {
			for _, f := range c.Findings {
				if f.Level == l {
					n++
				}
			}
		}
		return n
	}
	bad, doubtful := number(doctor.Problem), number(doctor.Warning)
	if bad+doubtful == 0 {
		return "all is well"
	}
	return fmt.Sprintf("problems: %d, warnings: %d", bad, doubtful)
}
