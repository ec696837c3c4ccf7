package cmd

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
)

func newImagesPrune(o *options) *cobra.Command {
	var yes bool
	var output outputFormat
	c := &cobra.Command{
		Use: "prune", Short: "Remove what was unpacked of bundles and is not used any more", Args: cobra.NoArgs,
		Long: "Bundles are unpacked into the cache, once for all clusters. List what of that no cluster, no snapshot and no bundle in the\n" +
			"cache uses any more, as of bundles that were built anew or deleted, and of other builds of this program; with --yes,\n" +
			"remove it. Bundles themselves stay: delete the directory of one that you do not want any more, and prune then.",
		Example: "  slipway images prune\n  slipway images prune --yes",
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := localcluster.Prune(c.Context(), o.dirs(), yes)
			if output == "json" {
				if list == nil {
					list = []localcluster.Unused{}
				}
				if failed := json.NewEncoder(o.Stdout).Encode(list); failed != nil {
					return failed
				}
				return err
			}
			var all int64
			for _, u := range list {
				fmt.Fprintf(o.Stdout, "%s\t%s\n", u.Path, bytesOf(u.Size))
				all += u.Size
			}
			switch {
			case err != nil:
			case len(list) == 0:
				fmt.Fprintln(o.Stderr, "everything in the cache is used")
			case yes:
				fmt.Fprintf(o.Stderr, "%s are free again\n", bytesOf(all))
			default:
				fmt.Fprintf(o.Stderr, "%s can be removed: with --yes they are\n", bytesOf(all))
			}
			return err
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "remove it, instead of only listing it")
	outputFlag(c, &output)
	return c
}
