package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/build"
	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
)

func newImages(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "images", Short: "Build, list, verify, push and pull bundles, and handle the images of a cluster's nodes",
		Long: "A bundle holds everything that nodes of one Kubernetes version need: programs, container images and the root\n" +
			"file system of machines. It is an OCI image layout, and nothing in it is used before its digest was checked.\n" +
			"Beside bundles, these commands handle the images that the nodes of a cluster on this computer have: load, save,\n" +
			"remove, and list with the name of the cluster.",
		Example: "  slipway images build\n  slipway images load dev app.tar\n  slipway images list dev",
		Args:    cobra.NoArgs, // or a mistyped subcommand would print this help and succeed
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newImagesBuild(o), newImagesListed(o), newImagesVerify(o), newImagesPush(o), newImagesPull(o),
		newImagesLoad(o), newImagesSave(o), newImagesRemove(o), newImagesPrune(o))
	return c
}

// bundleFlags choose a bundle: by its version among the built ones, by its directory, or by its reference in a registry.
type bundleFlags struct {
	version, bundle string
	registry        registry.Options
}

// bundleUsage is what --bundle takes.
const bundleUsage = "directory of the bundle, or oci://HOST/NAME:TAG in a registry"

func (f *bundleFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.version, "kubernetes-version", "", "Kubernetes version or minor (default: the newest supported)")
	c.Flags().StringVar(&f.bundle, "bundle", "", bundleUsage+" (default: the built one of that version)")
	c.MarkFlagsMutuallyExclusive("kubernetes-version", "bundle")
	registryFlags(c, &f.registry)
}

// registryFlags say how a registry is trusted.
func registryFlags(c *cobra.Command, r *registry.Options) {
	c.Flags().StringVar(&r.CA, "registry-ca", "", "file with authorities that a registry may have its certificate from, besides the system's")
	c.Flags().BoolVar(&r.PlainHTTP, "registry-plain-http", false, "let a registry be spoken to without TLS, passwords included")
}

// unused refuses what chooses a bundle where there is none to choose.
func (*bundleFlags) unused(c *cobra.Command) error {
	var errs []error
	for _, name := range []string{"kubernetes-version", "bundle", "registry-ca", "registry-plain-http"} {
		if c.Flags().Changed(name) {
			errs = append(errs, fault.New("option-invalid", "use --"+name+" with the name of a cluster",
				errors.New("it chooses a bundle"), "leave one of the two out"))
		}
	}
	return errors.Join(errs...)
}

// choose gives the bundle as a directory or a reference. A reference is never taken for a path, nor the other way round.
func (f *bundleFlags) choose(o *options) (string, error) {
	switch {
	case registry.IsRef(f.bundle):
		_, err := registry.Parse(f.bundle)
		return f.bundle, err
	case f.bundle != "":
		return absolute(f.bundle), nil
	}
	set, err := pins.For(f.version)
	return localcluster.BundleDir(o.CacheDir, set.Kubernetes), err
}

// look opens a bundle to read what is in it; of one in a registry only what is small is fetched. done is called at the end.
func (f *bundleFlags) look(ctx context.Context, o *options) (b *images.Bundle, done func(), err error) {
	bundle, err := f.choose(o)
	if err != nil {
		return nil, nil, err
	}
	if !registry.IsRef(bundle) {
		b, err = images.Open(bundle)
		return b, func() {}, err
	}
	ref, err := registry.Parse(bundle)
	if err != nil {
		return nil, nil, err
	}
	r, err := registry.Open(ctx, ref, f.registry)
	if err != nil {
		return nil, nil, err
	}
	return r.Bundle, r.Close, nil
}

// fetched opens a bundle with all that is in it, which in a registry's case is in the cache then.
func (f *bundleFlags) fetched(ctx context.Context, o *options) (*images.Bundle, error) {
	dir, err := f.choose(o)
	if err != nil {
		return nil, err
	}
	if registry.IsRef(dir) {
		show, finish := showEvents(o, "text")
		dir, err = localcluster.Pull(ctx, o.dirs(), dir, f.registry, false, show)
		finish()
		if err != nil {
			return nil, err
		}
	}
	return images.Open(dir)
}

func newImagesListed(o *options) *cobra.Command {
	var flags bundleFlags
	var output outputFormat
	c := &cobra.Command{
		Use: "list [NAME]", Short: "List what is in a bundle, or the images that a cluster's nodes have", Args: cobra.MaximumNArgs(1),
		Long: "Without NAME, list the components of a bundle with version, digest and compressed size. With the NAME of a cluster on this\n" +
			"computer, list the images that its nodes have, and which nodes lack one that others have.",
		Example: "  slipway images list --kubernetes-version 1.36\n  slipway images list -o json\n  slipway images list dev",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				if err := flags.unused(c); err != nil {
					return err
				}
				return onCluster(o, printNodeImages(o, output))(c, args)
			}
			b, done, err := flags.look(c.Context(), o)
			if err != nil {
				return err
			}
			defer done()
			if output == "json" {
				return json.NewEncoder(o.Stdout).Encode(b.Components())
			}
			t := tabwriter.NewWriter(o.Stdout, 0, 0, 3, ' ', 0)
			fmt.Fprintln(t, "COMPONENT\tKIND\tVERSION\tDIGEST\tSIZE")
			for _, p := range b.Components() {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", p.Name, p.Kind, p.Version, p.Digest, bytesOf(p.Size))
			}
			return t.Flush()
		},
	}
	flags.add(c)
	outputFlag(c, &output)
	return c
}

func bytesOf(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func newImagesVerify(o *options) *cobra.Command {
	var flags bundleFlags
	c := &cobra.Command{
		Use: "verify", Short: "Check every byte of a bundle against its digests", Args: cobra.NoArgs,
		Long: "Read every blob of a bundle and name each one that is missing or damaged, with the component it belongs to.\n" +
			"A bundle in a registry is pulled into the cache first.",
		Example: "  slipway images verify --bundle /media/stick/bundle",
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := flags.fetched(c.Context(), o)
			if err != nil {
				return err
			}
			if err := b.Verify(c.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(o.Stdout, "bundle %q is whole: Kubernetes %s, %d components\n", b.Dir(), b.KubernetesVersion(), len(b.Components()))
			return err
		},
	}
	flags.add(c)
	return c
}

func newImagesBuild(o *options) *cobra.Command {
	var version, output string
	c := &cobra.Command{
		Use: "build", Short: "Build the bundle of a Kubernetes version", Args: cobra.NoArgs,
		Long: "Compile every component from its Go modules at the pinned versions, take userland from Debian packages, and write\n" +
			"one bundle. Parts that are built already are kept, and an interrupted build goes on where it stopped.",
		Example: "  slipway images build\n  slipway images build --kubernetes-version 1.36 --output ./bundle",
		RunE: func(c *cobra.Command, _ []string) error {
			set, err := pins.For(version)
			if err != nil {
				return err
			}
			if output == "" {
				output = localcluster.BundleDir(o.CacheDir, set.Kubernetes)
			}
			report, done := showBuild(o)
			err = build.Build(c.Context(), build.Options{Version: version, Output: output, CacheDir: o.CacheDir, Report: report})
			done()
			if err != nil {
				return err
			}
			b, err := images.Open(output)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(o.Stdout, "bundle %q: Kubernetes %s, %d components, %s\n",
				output, b.KubernetesVersion(), len(b.Components()), b.Digest())
			return err
		},
	}
	c.Flags().StringVar(&version, "kubernetes-version", "", "Kubernetes version or minor (default: the newest supported)")
	c.Flags().StringVar(&output, "output", "", "directory of the bundle (default: below the cache)")
	return c
}
