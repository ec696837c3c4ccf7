package cmd

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
)

func newSnapshot(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "snapshot", Short: "Save whole clusters of this computer, put them back, make others of them",
		Long: "A snapshot is a cluster at one instant: the disks of all its nodes, with etcd on them, and its settings. It lies beside the\n" +
			"clusters, shares with them what neither writes to, and stays when its cluster is removed. It holds the cluster's keys and\n" +
			"Secrets: only root can read it.",
		Example: "  slipway snapshot save dev before-upgrade\n  slipway snapshot restore dev before-upgrade\n" +
			"  slipway up --from before-upgrade --name other\n  slipway snapshot delete dev before-upgrade",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newSnapshotSave(o), newSnapshotRestore(o), newSnapshotList(o), newSnapshotDelete(o))
	return c
}

func newSnapshotSave(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "save NAME SNAP", Short: "Save a cluster as it is now", Args: cobra.ExactArgs(2),
		Long: "Freezes all machines of a cluster that runs, for as long as it takes to copy their disks, and lets them go on: nothing in\n" +
			"the cluster notices more than a pause. A cluster that is stopped or paused stays so. Should it be killed meanwhile, the\n" +
			"cluster is paused; `slipway resume`, or the same command again, lets it go on.",
		Example: "  slipway snapshot save dev before-upgrade",
		RunE: func(c *cobra.Command, args []string) error {
			show, finish := showEvents(o, output)
			begin := time.Now()
			s, err := localcluster.SaveSnapshot(c.Context(), o.dirs(), snapshotOptions(args), show)
			finish()
			if err != nil || output == "json" {
				return err
			}
			_, err = fmt.Fprintf(o.Stdout, "snapshot %q of cluster %q is saved after %.1f s, of which it was frozen for %.2f s; it takes %s\n",
				s.Name, s.Cluster, time.Since(begin).Seconds(), s.Frozen, bytesOf(s.Size().Copied))
			return err
		},
	}
	outputFlag(c, &output)
	return c
}

func newSnapshotRestore(o *options) *cobra.Command {
	var output outputFormat
	var wait time.Duration
	c := &cobra.Command{
		Use: "restore NAME SNAP", Short: "Make a cluster what it was when a snapshot was saved", Args: cobra.ExactArgs(2),
		Long: "Stops the cluster's machines as a loss of power would, puts their disks back, and returns when the cluster runs again. What\n" +
			"was written since is lost; nodes that were added since are removed, those that were removed are there again. A cluster that\n" +
			"was removed comes back. The snapshot stays. If it is interrupted, the same command completes it.",
		Example: "  slipway snapshot restore dev before-upgrade",
		RunE: func(c *cobra.Command, args []string) error {
			opts := snapshotOptions(args)
			opts.Wait, opts.Kubeconfig = wait, kubeconfigPath()
			show, finish := showEvents(o, output)
			begin := time.Now()
			cluster, err := localcluster.RestoreSnapshot(c.Context(), o.dirs(), opts, show)
			finish()
			if err != nil || output == "json" {
				return err
			}
			_, err = fmt.Fprintf(o.Stdout, "cluster %q is what it was in snapshot %q, after %.1f s\n", cluster.Name(), opts.Snapshot,
				time.Since(begin).Seconds())
			return err
		},
	}
	c.Flags().DurationVar(&wait, "wait", startWait, "how long to wait until everything is ready")
	outputFlag(c, &output)
	return c
}

func snapshotOptions(args []string) localcluster.SnapshotOptions {
	return localcluster.SnapshotOptions{Name: args[0], Snapshot: args[1]}
}

// listedSnapshot is one line of `snapshot list`.
type listedSnapshot struct {
	Cluster string    `json:"cluster"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Nodes   int       `json:"nodes"`
	Frozen  float64   `json:"frozen"` // seconds
	Copied  int64     `json:"copied"` // bytes
	Linked  int64     `json:"linked"`
}

func newSnapshotList(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "list [NAME]", Short: "List the snapshots of a cluster, or of all", Args: cobra.MaximumNArgs(1),
		Long: "SIZE is what a snapshot takes on the disk; on a file system that shares blocks it is less. What it has in common with the\n" +
			"unpacked bundle is not counted. Snapshots of clusters that are gone are listed too.",
		Example: "  slipway snapshot list\n  slipway snapshot list dev -o json",
		RunE: func(_ *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
				if err := localcluster.CheckName(name); err != nil {
					return err
				}
			}
			all, err := localcluster.Snapshots(o.dirs(), name)
			if err != nil {
				return err
			}
			rows := make([]listedSnapshot, 0, len(all))
			for _, s := range all {
				size := s.Size()
				rows = append(rows, listedSnapshot{s.Cluster, s.Name, s.Created, len(s.Machines), s.Frozen, size.Copied, size.Linked})
			}
			return printSnapshots(o, output, rows)
		},
	}
	outputFlag(c, &output)
	return c
}

func printSnapshots(o *options, output outputFormat, rows []listedSnapshot) error {
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(rows)
	}
	t := tabwriter.NewWriter(o.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "CLUSTER\tSNAPSHOT\tCREATED\tNODES\tSIZE")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", r.Cluster, r.Name, r.Created.Local().Format(time.DateTime), r.Nodes, bytesOf(r.Copied))
	}
	return t.Flush()
}

func newSnapshotDelete(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME SNAP", Short: "Delete a snapshot of a cluster", Args: cobra.ExactArgs(2),
		Long:    "Clusters that were made of it, or put back to it, do not need it.",
		Example: "  slipway snapshot delete dev before-upgrade",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := localcluster.DeleteSnapshot(o.dirs(), snapshotOptions(args)); err != nil {
				return err
			}
			_, err := fmt.Fprintf(o.Stderr, "snapshot %q of cluster %q is gone\n", args[1], args[0])
			return err
		},
	}
}
