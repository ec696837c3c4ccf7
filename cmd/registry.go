package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/cmd/localcluster"
	"slipway.dev/slipway/images/registry"
)

func newImagesPush(o *options) *cobra.Command {
	var flags bundleFlags
	c := &cobra.Command{
		Use: "push REF", Short: "Put a bundle into a registry", Args: cobra.ExactArgs(1),
		Long: "Check every byte of a bundle and put it into an OCI registry under a tag, as an index that any registry keeps. What is\n" +
			"there already is not sent again. Who you are is what `docker login` or `podman login` has written down. It prints the\n" +
			"reference by digest, which is the one to give to others: what a tag means can change.",
		Example: "  slipway images push oci://registry.example:5000/slipway/bundle:v1.37.1\n" +
			"  slipway images push --bundle ./bundle --registry-ca ca.crt oci://registry.example/slipway/bundle:test",
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := registry.Parse(args[0])
			if err != nil {
				return err
			}
			b, err := flags.fetched(c.Context(), o)
			if err != nil {
				return err
			}
			err = shown(c.Context(), o, "push-bundle", func(ctx context.Context, progress func(string)) error {
				ref, err = registry.Push(ctx, b, ref, flags.registry, progress)
				return err
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(o.Stdout, ref)
			return err
		},
	}
	flags.add(c)
	return c
}

func newImagesPull(o *options) *cobra.Command {
	var output string
	var trust registry.Options
	c := &cobra.Command{
		Use: "pull REF", Short: "Get a bundle from a registry", Args: cobra.ExactArgs(1),
		Long: "Get all of a bundle from an OCI registry, each byte checked against its digest before it counts, and print its directory.\n" +
			"An interrupted pull goes on where it stopped, and what another pulled bundle has is not fetched again.\n" +
			"What is in the directory already is read, and what of it is damaged is fetched again.",
		Example: "  slipway images pull oci://registry.example:5000/slipway/bundle:v1.37.1\n" +
			"  slipway images pull oci://registry.example/slipway/bundle@sha256:DIGEST --output /media/stick/bundle",
		RunE: func(c *cobra.Command, args []string) (err error) {
			if output == "" {
				show, finish := showEvents(o, "text")
				output, err = localcluster.Pull(c.Context(), o.dirs(), args[0], trust, true, show)
				finish()
			} else {
				output = absolute(output)
				err = pullTo(c.Context(), o, args[0], output, trust)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(o.Stdout, output)
			return err
		},
	}
	c.Flags().StringVar(&output, "output", "", "directory of the bundle (default: below the cache, named by its digest)")
	registryFlags(c, &trust)
	return c
}

func pullTo(ctx context.Context, o *options, text, dir string, trust registry.Options) error {
	ref, err := registry.Parse(text)
	if err != nil {
		return err
	}
	return shown(ctx, o, "pull-bundle", func(ctx context.Context, progress func(string)) error {
		r, err := registry.Open(ctx, ref, trust)
		if err != nil {
			return err
		}
		defer r.Close()
		return r.Repair(ctx, dir, registry.Whole, progress)
	})
}

// shown runs one thing that takes long, as the only step.
func shown(ctx context.Context, o *options, name string, do func(context.Context, func(string)) error) error {
	show, finish := showEvents(o, "text")
	defer finish()
	return engine.Run(ctx, "", []engine.Step{{
		Name: name, Check: func(context.Context) ([]string, error) { return []string{name}, nil }, Do: do,
	}}, show)
}
