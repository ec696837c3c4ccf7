package cmd

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap/server"
)

func newCertsFetch(o *options) *cobra.Command {
	var j server.JoinOptions
	c := &cobra.Command{
		Use: "fetch ENDPOINT", Short: "Place what `kubeadm join --control-plane` needs and does not carry", Args: cobra.ExactArgs(1),
		Long: "Before kubeadm makes this server a control plane of a cluster that slipway made: places the encryption key, the audit policy\n" +
			"and the authentication configuration that all control planes share. `slipway join` does not need it.",
		Example: "  slipway certs fetch 10.0.0.1:6443 --token abcdef.0123456789abcdef \\\n" +
			"    --discovery-token-ca-cert-hash sha256:HASH --certificate-key KEY",
		RunE: func(c *cobra.Command, args []string) error {
			j.Endpoint = args[0]
			paths, err := server.FetchShared(c.Context(), j)
			for _, p := range paths {
				fmt.Fprintln(o.Stdout, p)
			}
			return err
		},
	}
	discoveryFlags(c, &j)
	c.Flags().DurationVar(&j.Wait, "wait", time.Minute, "how long it may take")
	return c
}

// discoveryFlags say how a cluster is found and trusted.
func discoveryFlags(c *cobra.Command, j *server.JoinOptions) {
	f := c.Flags()
	f.StringVar(&j.Token, "token", "", "bootstrap token")
	f.StringSliceVar(&j.CAHashes, "discovery-token-ca-cert-hash", nil, "hash of the cluster's authority, sha256:HEX; several while it changes")
	f.BoolVar(&j.UnsafeSkipCA, "discovery-token-unsafe-skip-ca-verification", false, "trust any cluster that knows the token")
	f.StringVar(&j.DiscoveryFile, "discovery-file", "", "kubeconfig that says where the cluster is and how to trust it, instead of ENDPOINT")
	f.StringVar(&j.CertificateKey, "certificate-key", "", "key of the uploaded certificates of control planes")
}
