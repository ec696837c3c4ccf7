package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/bootstrap/server"
)

// adminFlag says by which kubeconfig the cluster is reached.
type adminFlag struct{ path string }

func (f *adminFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&f.path, "kubeconfig", "", "administrator's kubeconfig (default: $KUBECONFIG, or else "+server.AdminKubeconfig+")")
}

// files reads a list in $KUBECONFIG as kubectl does.
func (f *adminFlag) files() []string {
	list := filepath.SplitList(os.Getenv("KUBECONFIG"))
	switch {
	case f.path != "":
		return []string{f.path}
	case len(list) == 0:
		return []string{server.AdminKubeconfig}
	}
	return list
}

func (f *adminFlag) client() (kubernetes.Interface, error) { return server.Open(f.files()...) }

func newToken(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Create, list and delete the tokens that servers join with",
		Long: "A bootstrap token lets whoever has it make a server a worker of the cluster. These commands work with an\n" +
			"administrator's kubeconfig, as there is one on each control plane.",
		Example: "  slipway token create --print-join-command\n  slipway token list",
		Args:    cobra.NoArgs, // or a mistyped subcommand would print this help and succeed
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTokenCreate(o), newTokenList(o), newTokenDelete(o))
	return c
}

func newTokenCreate(o *options) *cobra.Command {
	var t server.TokenOptions
	var admin adminFlag
	var output outputFormat
	c := &cobra.Command{
		Use: "create [TOKEN]", Short: "Create a token, and print it or the command to join with",
		Long: "Creates a token, a random one unless TOKEN is given, and prints it. With --print-join-command it prints the whole command\n" +
			"that makes another server a worker instead; with --upload-certs, or the --certificate-key of certificates that were\n" +
			"uploaded less than two hours ago, the one that makes it a control plane. What it prints is secret.",
		Example: "  slipway token create --print-join-command\n  slipway token create --upload-certs --ttl 2h\n" +
			"  slipway token create abcdef.0123456789abcdef --ttl 0 --description \"for the rack\"",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				t.Token = args[0]
			}
			client, err := admin.client()
			if err != nil {
				return err
			}
			made, err := server.CreateToken(c.Context(), client, t)
			if err != nil {
				return err
			}
			return printIssued(o, output, made)
		},
	}
	admin.add(c)
	f := c.Flags()
	f.DurationVar(&t.TTL, "ttl", invite.DefaultTTL, "how long other servers may join with it; 0 is forever")
	f.StringVar(&t.Description, "description", "", "what it is for")
	f.BoolVar(&t.JoinCommand, "print-join-command", false, "print the command to join with instead of the token")
	f.StringVar(&t.CertificateKey, "certificate-key", "", "key of the uploaded certificates: print the command of a control plane")
	f.BoolVar(&t.UploadCerts, "upload-certs", false, "upload what control planes share, for two hours: print the command of a control plane")
	c.MarkFlagsMutuallyExclusive("certificate-key", "upload-certs")
	outputFlag(c, &output)
	return c
}

func printIssued(o *options, output outputFormat, t *server.IssuedToken) error {
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(t)
	}
	text := t.Token
	if t.JoinCommand != "" {
		text = t.JoinCommand
	}
	_, err := fmt.Fprintln(o.Stdout, text)
	return err
}

func newTokenList(o *options) *cobra.Command {
	var admin adminFlag
	var output outputFormat
	c := &cobra.Command{
		Use: "list", Short: "List the cluster's tokens", Args: cobra.NoArgs,
		Long:    "Lists the tokens that the cluster knows, by their IDs: the secret halves are not printed.",
		Example: "  slipway token list -o json",
		RunE: withClient(&admin, func(ctx context.Context, client kubernetes.Interface, _ []string) error {
			list, err := server.Tokens(ctx, client)
			if err != nil {
				return err
			}
			return printTokens(o, output, list, time.Now())
		}),
	}
	admin.add(c)
	outputFlag(c, &output)
	return c
}

// withClient is what the commands have in common that only ask the cluster.
func withClient(admin *adminFlag, run func(context.Context, kubernetes.Interface, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		client, err := admin.client()
		if err != nil {
			return err
		}
		return run(c.Context(), client, args)
	}
}

func printTokens(o *options, output outputFormat, list []invite.TokenInfo, now time.Time) error {
	if output == "json" {
		if list == nil {
			list = []invite.TokenInfo{}
		}
		return json.NewEncoder(o.Stdout).Encode(list)
	}
	t := tabwriter.NewWriter(o.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "TOKEN ID\tTTL\tEXPIRES\tUSAGES\tDESCRIPTION\tGROUPS")
	for _, one := range list {
		left, expires := "forever", "never"
		if !one.Expires.IsZero() {
			left, expires = duration.HumanDuration(one.Expires.Sub(now)), one.Expires.Format(time.RFC3339)
			if !one.Expires.After(now) {
				left = "expired"
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", one.ID, left, expires,
			orNone(one.Usages...), orNone(one.Description), orNone(one.Groups...))
	}
	return t.Flush()
}

// orNone keeps the cells of a table from being empty.
func orNone(list ...string) string {
	if text := strings.Join(list, ","); text != "" {
		return text
	}
	return "-"
}

func newTokenDelete(o *options) *cobra.Command {
	var admin adminFlag
	c := &cobra.Command{
		Use: "delete ID...", Short: "Make the cluster forget tokens", Args: cobra.MinimumNArgs(1),
		Long:    "Deletes tokens, each named by its ID or whole: nobody joins with them any more. Nodes that have joined stay.",
		Example: "  slipway token delete abcdef",
		RunE: withClient(&admin, func(ctx context.Context, client kubernetes.Interface, args []string) error {
			gone, err := server.DeleteTokens(ctx, client, args)
			for _, id := range gone {
				_, werr := fmt.Fprintf(o.Stdout, "token %q deleted\n", id)
				err = errors.Join(err, werr)
			}
			return err
		}),
	}
	admin.add(c)
	return c
}
