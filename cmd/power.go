package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/cmd/localcluster"
)

// How long things may take unless something else is asked for.
const (
	stopGrace = 20 * time.Second
	startWait = 2 * time.Minute
)

// power is one of the commands that stop machines and start them again.
type power struct {
	localcluster.PowerOptions
	output outputFormat
	done   string // the state that the cluster is in afterwards
	run    func(context.Context, localcluster.Dirs, localcluster.PowerOptions, engine.Report) (changed bool, err error)
}

// command gives c what it does and the flags that all of these have.
func (p *power) command(o *options, c *cobra.Command) *cobra.Command {
	c.RunE = func(c *cobra.Command, args []string) error {
		p.Name = args[0]
		if len(args) > 1 {
			p.Node = args[1]
		}
		show, finish := showEvents(o, p.output)
		start := time.Now()
		changed, err := p.run(c.Context(), o.dirs(), p.PowerOptions, show)
		finish()
		if c, failed := localcluster.Open(o.dirs(), p.Name); failed == nil {
			noteUnfinished(o, c)
		}
		if err != nil || p.output == "json" {
			return err
		}
		if !changed {
			_, err = fmt.Fprintf(o.Stdout, "cluster %q was %s already: nothing was changed\n", p.Name, p.done)
			return err
		}
		_, err = fmt.Fprintf(o.Stdout, "cluster %q is %s after %.1f s\n", p.Name, p.done, time.Since(start).Seconds())
		return err
	}
	outputFlag(c, &p.output)
	return c
}

// noteUnfinished says what was begun with nodes and not completed.
func noteUnfinished(o *options, c *localcluster.Cluster) {
	for _, what := range c.Unfinished() {
		fmt.Fprintln(o.Stderr, "note:", what)
	}
}

func (p *power) graceFlag(c *cobra.Command) {
	c.Flags().DurationVar(&p.Grace, "grace", stopGrace, "how long what runs in the machines may take to end, before it is killed")
}

func (p *power) waitFlag(c *cobra.Command) {
	c.Flags().DurationVar(&p.Wait, "wait", startWait, "how long to wait until everything is ready")
}

func newStop(o *options) *cobra.Command {
	p := &power{done: "stopped", run: localcluster.Stop}
	c := &cobra.Command{
		Use: "stop NAME", Short: "Stop a cluster of this computer, which keeps everything that is on it",
		Long: "Shuts down all machines at the same time, as servers are: what runs in them is told to end and may take --grace for that.\n" +
			"Nothing of the cluster uses processor or memory afterwards; `slipway start` brings it back as it was. Works on the machines of\n" +
			"`slipway machines up` too.",
		Example: "  slipway stop dev", Args: cobra.ExactArgs(1),
	}
	p.graceFlag(c)
	return p.command(o, c)
}

func newStart(o *options) *cobra.Command {
	p := &power{done: "running", run: localcluster.Start}
	c := &cobra.Command{
		Use: "start NAME", Short: "Start a cluster that was stopped, or that a restart of this computer has stopped",
		Long: "Starts all machines that do not run at the same time, and returns when the control plane is healthy, all nodes are Ready\n" +
			"and all pods of Deployments, StatefulSets and DaemonSets are back and ready.",
		Example: "  slipway start dev\n  slipway start dev --wait 5m", Args: cobra.ExactArgs(1),
	}
	p.waitFlag(c)
	return p.command(o, c)
}

func newPause(o *options) *cobra.Command {
	p := &power{done: "paused", run: localcluster.Pause}
	c := &cobra.Command{
		Use: "pause NAME", Short: "Freeze a cluster of this computer: it keeps its memory and uses no processor",
		Long: "Freezes every process in the machines where it is, pods included. `slipway resume` lets them go on in a moment. After a\n" +
			"restart of this computer there is nothing to resume: `slipway start` starts the cluster then.",
		Example: "  slipway pause dev\n  slipway resume dev", Args: cobra.ExactArgs(1),
	}
	return p.command(o, c)
}

func newResume(o *options) *cobra.Command {
	p := &power{done: "running", run: localcluster.Resume}
	c := &cobra.Command{
		Use: "resume NAME", Short: "Let a paused cluster go on",
		Long:    "Thaws all machines, and returns when the control plane is healthy, and nodes and pods are ready.",
		Example: "  slipway resume dev", Args: cobra.ExactArgs(1),
	}
	p.waitFlag(c)
	return p.command(o, c)
}

func newRestart(o *options) *cobra.Command {
	p := &power{done: "running", run: func(
		ctx context.Context, d localcluster.Dirs, opts localcluster.PowerOptions, report engine.Report,
	) (bool, error) {
		return true, localcluster.Restart(ctx, d, opts, report)
	}}
	c := &cobra.Command{
		Use: "restart NAME [NODE]", Short: "Restart a cluster of this computer, or one of its nodes",
		Long:    "Stops all machines, or that of NODE, and starts them: what `slipway stop` and `slipway start` do.",
		Example: "  slipway restart dev\n  slipway restart dev dev-worker-1", Args: cobra.RangeArgs(1, 2),
	}
	p.graceFlag(c)
	p.waitFlag(c)
	return p.command(o, c)
}
