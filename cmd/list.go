package cmd

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
)

// listed is one line of `list`.
type listed struct {
	Name              string `json:"name"`
	State             string `json:"state"`
	KubernetesVersion string `json:"kubernetesVersion"`
	ControlPlanes     int    `json:"controlPlanes"`
	Workers           int    `json:"workers"`
	Subnet            string `json:"subnet"`
	Endpoint          string `json:"endpoint"`

	Ports []string `json:"ports,omitempty"` // published on this computer's loopback
}

func newList(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "list", Short: "List the clusters of this computer", Example: "  slipway list -o json", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := localcluster.All(o.dirs())
			if err != nil {
				return err
			}
			rows := make([]listed, 0, len(all))
			for _, cluster := range all {
				state, err := cluster.State(c.Context())
				if err != nil {
					return err
				}
				k := cluster.Cluster
				controlPlanes, workers := cluster.Size()
				rows = append(rows, listed{k.Name, state, k.KubernetesVersion, controlPlanes, workers,
					cluster.Subnet.String(), "https://" + k.Endpoint, cluster.Ports()})
			}
			return printList(o, output, rows)
		},
	}
	outputFlag(c, &output)
	return c
}

func printList(o *options, output outputFormat, rows []listed) error {
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(rows)
	}
	t := tabwriter.NewWriter(o.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tKUBERNETES\tCONTROL-PLANES\tWORKERS\tSUBNET\tENDPOINT\tPORTS")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n",
			r.Name, r.State, r.KubernetesVersion, r.ControlPlanes, r.Workers, r.Subnet, r.Endpoint, strings.Join(r.Ports, " "))
	}
	return t.Flush()
}
