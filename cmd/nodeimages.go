package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
)

func newImagesLoad(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "load NAME FILE...", Short: "Load images of your own into all nodes of a cluster",
		Long: "Each FILE is an archive by `docker save` or in OCI format, compressed or not, or the directory of an OCI layout. All nodes\n" +
			"get the images at the same time, and of each image only those blobs that they lack, after these were checked against\n" +
			"their digests. An image has its name when all of it is there: interrupt it, run it again, and it goes on.\n" +
			"It prints the names for use in pods, and on stderr what each node was sent.",
		Example: "  slipway images load dev app.tar\n  docker save app:1 | slipway images load dev /dev/stdin\n" +
			"  slipway images load dev build/oci-layout other.tar.gz -o json",
		Args: cobra.MinimumNArgs(2),
		RunE: onCluster(o, func(ctx context.Context, cluster *localcluster.Cluster, files []string) error {
			archives, err := localcluster.OpenArchives(ctx, o.dirs(), files)
			if err != nil {
				return err
			}
			defer archives.Close()
			show, finish := showEvents(o, "text")
			loaded, err := cluster.LoadImages(ctx, archives, show)
			finish()
			if err != nil {
				return err
			}
			return printLoaded(o, output, archives, loaded)
		}),
	}
	outputFlag(c, &output)
	return c
}

func printLoaded(o *options, output outputFormat, archives localcluster.Archives, loaded []localcluster.Loaded) error {
	type image struct {
		Name   string `json:"name"`
		Digest string `json:"digest"`
	}
	var all []image
	for _, i := range archives.Images() {
		all = append(all, image{i.Name, i.Target.Digest.String()})
	}
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(struct {
			Images []image               `json:"images"`
			Nodes  []localcluster.Loaded `json:"nodes"`
		}{all, loaded})
	}
	for _, n := range loaded {
		fmt.Fprintf(o.Stderr, "%-16s was sent %d of %d blobs, %s\n", n.Node, n.Sent.Sent, n.Blobs, bytesOf(n.Bytes))
	}
	for _, i := range all {
		fmt.Fprintln(o.Stdout, i.Name)
	}
	return nil
}

func newImagesSave(o *options) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "save NAME REF... --file FILE", Short: "Save images that the nodes of a cluster have into a file",
		Long: "Write an OCI archive with the images, which `slipway images load` and `docker load` take. Each blob is checked against its\n" +
			"digest. The file appears under its name when it is whole; - is stdout.",
		Example: "  slipway images save dev app:1 db:2 --file images.tar\n  slipway images save dev app:1 -f - | gzip > app.tar.gz",
		Args:    cobra.MinimumNArgs(2),
		RunE: onCluster(o, func(ctx context.Context, cluster *localcluster.Cluster, refs []string) error {
			if file == "-" {
				return cluster.SaveImages(ctx, refs, o.Stdout)
			}
			out, err := renameio.NewPendingFile(absolute(file), renameio.WithPermissions(0o644))
			if err != nil {
				return err
			}
			defer out.Cleanup() //nolint:errcheck // it has its name by then, or what is wrong was said
			if err := cluster.SaveImages(ctx, refs, io.Writer(out)); err != nil {
				return err
			}
			return out.CloseAtomicallyReplace()
		}),
	}
	c.Flags().StringVarP(&file, "file", "f", "", "file to write; - is stdout")
	_ = c.MarkFlagRequired("file") // it is there
	return c
}

func newImagesRemove(o *options) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "remove NAME REF...", Short: "Remove images from all nodes of a cluster",
		Long: "Take the images away from all nodes that have them. REF is a name, as `slipway images list NAME` shows it or as you type it,\n" +
			"or the ID. An image with several names stays until the last is removed. Nothing is removed unless all of them can be:\n" +
			"images that a pod runs from need --force, and those of the cluster itself stay.",
		Example: "  slipway images remove dev app:1 app:2",
		Args:    cobra.MinimumNArgs(2),
		RunE: onCluster(o, func(ctx context.Context, cluster *localcluster.Cluster, refs []string) error {
			gone, err := cluster.RemoveImages(ctx, refs, force)
			if err != nil {
				return err
			}
			for _, i := range gone {
				fmt.Fprintf(o.Stdout, "%s is gone from %s\n", i.Name, strings.Join(i.Nodes, ", "))
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "also remove images that pods run from: those go on, but cannot start again")
	return c
}

// printNodeImages lists what the nodes of a cluster have.
func printNodeImages(o *options, output outputFormat) func(context.Context, *localcluster.Cluster, []string) error {
	return func(ctx context.Context, cluster *localcluster.Cluster, _ []string) error {
		list, err := cluster.Images(ctx)
		if err != nil {
			return err
		}
		if output == "json" {
			return json.NewEncoder(o.Stdout).Encode(list)
		}
		t := tabwriter.NewWriter(o.Stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(t, "IMAGE\tID\tSIZE\tOF\tNODES")
		for _, i := range list {
			of, nodes := "you", "all"
			if i.Cluster {
				of = "the cluster"
			}
			if len(i.Lacking) > 0 {
				nodes = "all but " + strings.Join(i.Lacking, ", ")
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", i.Name, shortID(i.ID), bytesOf(i.Size), of, nodes)
		}
		return t.Flush()
	}
}

// shortID is as much of a digest as people compare.
func shortID(id string) string {
	_, hex, _ := strings.Cut(id, ":")
	return hex[:min(len(hex), 12)]
}
