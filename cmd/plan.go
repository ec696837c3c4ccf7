package cmd

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/bootstrap/server"
)

func newPlan(o *options) *cobra.Command {
	var file string
	var bundle bundleFlags
	var output outputFormat
	c := &cobra.Command{
		Use: "plan", Short: "List what would be changed on this server, with what is there now",
		Long: "On a server that is no node yet: what `slipway init` would change, or `slipway join` if FILE is of its kind, step by\n" +
			"step. On a node: where it, and the cluster's objects if it has made them, differ from what was made;\n" +
			"--config and --bundle do not count then. Nothing is changed.",
		Example: "  slipway plan --bundle /media/bundle\n  slipway plan --config join.yaml -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			node, err := server.IsNode()
			if err != nil {
				return err
			}
			if node {
				changes, err := server.PlanNode(c.Context(), bundle.registry)
				return printChanges(o, output, changes, err)
			}
			run := newInit(o)
			if config.KindOf(file) == config.JoinKind {
				run = newJoin(o)
			}
			return dryRun(c, run)
		},
	}
	c.Flags().StringVar(&file, "config", "", "file with the settings of init or join")
	bundle.add(c)
	outputFlag(c, &output)
	return c
}

// dryRun runs another command with the flags of this one.
func dryRun(c, run *cobra.Command) error {
	args := []string{"--dry-run"}
	c.Flags().Visit(func(f *pflag.Flag) {
		if run.Flags().Lookup(f.Name) != nil { // those for all commands have been read
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	if err := run.ParseFlags(args); err != nil {
		return err
	}
	run.SetContext(c.Context())
	if err := run.PreRunE(run, nil); err != nil {
		return err
	}
	return run.RunE(run, nil)
}
