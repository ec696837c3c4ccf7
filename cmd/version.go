package cmd

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/images/pins"
)

// version is stamped by the linker, whose -X reaches only package variables.
var version = "unknown"

func newVersion(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: "  slipway version -o json",
		RunE: func(*cobra.Command, []string) error {
			if output == "json" {
				return json.NewEncoder(o.Stdout).Encode(map[string]any{
					"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
					"kubernetes": pins.Minors(), "defaultKubernetes": pins.Default,
				})
			}
			_, err := fmt.Fprintf(o.Stdout, "slipway %s, %s/%s, Kubernetes %v (default %s)\n",
				version, runtime.GOOS, runtime.GOARCH, pins.Minors(), pins.Default)
			return err
		},
	}
	outputFlag(c, &output)
	return c
}
