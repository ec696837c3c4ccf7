package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap/server"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

func newCerts(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "certs", Short: "Check, renew and share the certificates of this server",
		Long:    "These commands are about the certificates that lie on the server that they run on, whether slipway or kubeadm made it a node.",
		Example: "  slipway certs check\n  slipway certs renew all\n  slipway certs upload",
		Args:    cobra.NoArgs, // or a mistyped subcommand would print this help and succeed
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCertsCheck(o), newCertsRenew(o), newCertsUpload(o), newCertsFetch(o))
	return c
}

func newCertsCheck(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "check", Short: "Say until when this server's certificates are good, and what is wrong with them", Args: cobra.NoArgs,
		Long: "Looks at every certificate on this server: until when it is good, by which authority it is signed, whether its key fits and\n" +
			"it names what it should. The exit code is 1 if one has expired or is wrong, and 0 if one only expires soon.",
		Example: "  slipway certs check\n  slipway certs check -o json",
		RunE: func(*cobra.Command, []string) error {
			list, err := server.CheckCertificates(time.Now())
			if list == nil {
				return err
			}
			return errors.Join(err, printCertificates(o, output, list))
		},
	}
	outputFlag(c, &output)
	return c
}

func printCertificates(o *options, output outputFormat, list []certs.Status) error {
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(list)
	}
	t := tabwriter.NewWriter(o.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tEXPIRES\tREMAINING\tAUTHORITY\tPROBLEMS")
	var soon, external []string
	for _, s := range list {
		var problems []string
		for _, f := range s.Findings {
			problems = append(problems, string(f.Kind))
			switch {
			case f.Kind == certs.ExpiresSoon && s.External:
				external = append(external, s.Name)
			case f.Kind == certs.ExpiresSoon:
				soon = append(soon, s.Name)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Name, dateOf(s.NotAfter), remaining(s), authority(s), orNone(problems...))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(soon) > 0 {
		fmt.Fprintf(o.Stderr, "warning: %s: less than 30 days left; `slipway certs renew` on a control plane helps\n",
			strings.Join(soon, ", "))
	}
	if len(external) > 0 {
		fmt.Fprintf(o.Stderr, "warning: %s: less than 30 days left; whoever runs etcd renews it\n", strings.Join(external, ", "))
	}
	return nil
}

// authority says too what only somebody else renews.
func authority(s certs.Status) string {
	if s.External {
		return "external"
	}
	return orNone(s.Authority)
}

// dateOf is for a certificate that could not be read too.
func dateOf(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

func remaining(s certs.Status) string {
	switch {
	case s.NotAfter.IsZero():
		return "-"
	case s.Remaining <= 0:
		return "none"
	}
	return duration.HumanDuration(s.Remaining)
}

func newCertsRenew(o *options) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "renew [NAME... | all]", Short: "Renew the certificates of this control plane",
		Long: "Makes new certificates and keys, for the named ones or for all that are there, signed by the authorities on this control\n" +
			"plane. Names, addresses and subjects stay. What reads its certificate only when it starts is restarted: the controller\n" +
			"manager and the scheduler. `slipway certs check` lists the names; the kubelet renews its client certificate itself, and\n" +
			"whoever runs an external etcd the one for that.",
		Example: "  slipway certs renew\n  slipway certs renew apiserver admin.conf",
		RunE: func(c *cobra.Command, args []string) error {
			names, err := namesOf(args)
			if err != nil {
				return err
			}
			show, finish := showEvents(o, output)
			done, err := server.RenewCertificates(c.Context(), names, show)
			finish()
			if err != nil {
				return err
			}
			return printRenewal(o, output, done)
		},
	}
	outputFlag(c, &output)
	return c
}

// namesOf gives nothing for all.
func namesOf(args []string) ([]string, error) {
	switch {
	case !slices.Contains(args, "all"):
		return args, nil
	case len(args) == 1:
		return nil, nil
	}
	return nil, fault.New("option-invalid", "renew all certificates", errors.New("some are named beside that"), "leave out either")
}

func printRenewal(o *options, output outputFormat, r *server.Renewal) error {
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(r)
	}
	if r.Warning != "" {
		fmt.Fprintf(o.Stderr, "warning: %s\n", r.Warning)
	}
	for _, s := range r.Certificates {
		fmt.Fprintf(o.Stdout, "%s: renewed, good until %s\n", s.Name, dateOf(s.NotAfter))
	}
	for _, s := range r.External {
		fmt.Fprintf(o.Stdout, "%s: left alone, good until %s: whoever runs etcd renews it\n", s.Name, dateOf(s.NotAfter))
	}
	for _, component := range r.Restarted {
		fmt.Fprintf(o.Stdout, "%s: restarted\n", component)
	}
	if slices.ContainsFunc(r.Certificates, func(s certs.Status) bool { return s.Name == "admin.conf" }) {
		fmt.Fprintf(o.Stdout, "\nCopies of %s still have the old certificate: copy it again, for example to ~/.kube/config.\n",
			server.AdminKubeconfig)
	}
	return nil
}

func newCertsUpload(o *options) *cobra.Command {
	var key string
	var admin adminFlag
	var output outputFormat
	c := &cobra.Command{
		Use: "upload", Short: "Let other control planes join for two hours", Args: cobra.NoArgs,
		Long: "Puts what control planes share (the keys of the authorities among it) into the cluster for two hours, encrypted with a key\n" +
			"that it prints. Whoever has the key and a token can make a server a control plane: it is secret.",
		Example: "  slipway certs upload",
		RunE: withClient(&admin, func(ctx context.Context, client kubernetes.Interface, _ []string) error {
			used, err := server.UploadCertificates(ctx, client, key)
			if err != nil {
				return err
			}
			return printUpload(o, output, used.Reveal())
		}),
	}
	admin.add(c)
	c.Flags().StringVar(&key, "certificate-key", "", "key to encrypt with, 64 hexadecimal digits (default: a new one)")
	outputFlag(c, &output)
	return c
}

func printUpload(o *options, output outputFormat, key string) error {
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(map[string]string{"certificateKey": key})
	}
	_, err := fmt.Fprintf(o.Stdout, "What control planes share is in the cluster for two hours, encrypted with this key.\n"+
		"It is shown only now:\n  %s\n\n"+
		"Print the command that makes another server a control plane with:\n  slipway token create --certificate-key %[1]s\n", key)
	return err
}
