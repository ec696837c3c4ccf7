package cmd

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
)

// newNode has what the user types beside what Slipway runs on hosts.
func newNode(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "node", Short: "Add nodes to a cluster on this computer, or remove them", Args: cobra.NoArgs,
		Example: "  slipway node add dev --count 2\n  slipway node add dev --control-plane --count 2\n  slipway node remove dev dev-worker-1",
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newNodeAdd(o), newNodeRemove(o))
	addNodeInternals(c, o)
	return c
}

func newNodeAdd(o *options) *cobra.Command {
	var a localcluster.AddOptions
	var output outputFormat
	c := &cobra.Command{
		Use: "add NAME", Short: "Add nodes to a cluster on this computer",
		Long: "Makes machines and adds them to cluster NAME as workers or control planes, all at the same time. Running it again after it was\n" +
			"interrupted completes the same addition. A cluster that gets its second control plane gets an address for its API too that\n" +
			"one of them has at a time; the kubeconfig uses it from then on. etcd wants an odd number of members: add two.",
		Example: "  slipway node add dev\n  slipway node add dev --control-plane --count 2",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			a.Name = args[0]
			show, finish := showEvents(o, output)
			added, err := localcluster.AddNodes(c.Context(), o.dirs(), a, show)
			finish()
			if err != nil || output == "json" {
				return err
			}
			for _, n := range added {
				if _, err := fmt.Fprintln(o.Stdout, n); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&a.ControlPlane, "control-plane", false, "add control planes instead of workers")
	f.IntVar(&a.Count, "count", 1, "how many")
	f.DurationVar(&a.Wait, "wait", 2*time.Minute, "how long to wait until they are ready")
	outputFlag(c, &output)
	return c
}

func newNodeRemove(o *options) *cobra.Command {
	var r localcluster.RemoveOptions
	var output outputFormat
	c := &cobra.Command{
		Use: "remove NAME NODE", Short: "Remove a node from a cluster on this computer",
		Long: "Moves the pods of NODE away, removes its member of etcd if it is a control plane, deletes the Node, and removes the machine\n" +
			"with all that is on it. Pods that no controller makes again are deleted, and what pods have in emptyDir volumes. It works as\n" +
			"well if the machine does not run. Running it again completes what was interrupted.",
		Example: "  slipway node remove dev dev-worker-1",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			r.Name, r.Node = args[0], args[1]
			show, finish := showEvents(o, output)
			err := localcluster.RemoveNode(c.Context(), o.dirs(), r, show)
			finish()
			if err != nil || output == "json" {
				return err
			}
			_, err = fmt.Fprintf(o.Stderr, "node %q is gone\n", r.Node)
			return err
		},
	}
	f := c.Flags()
	f.BoolVar(&r.Force, "force", false, "delete pods that cannot be evicted, and take a node out that cannot leave by itself")
	f.DurationVar(&r.Wait, "wait", 2*time.Minute, "how long it may take, with the pods' own time to end")
	outputFlag(c, &output)
	return c
}
