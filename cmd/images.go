package cmd

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/build"
	"slipway.dev/slipway/images/pins"
)

func newImages(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "images", Short: "Build, list and verify bundles, and load images of your own",
		Long: "A bundle holds everything that nodes of one Kubernetes version need: programs, container images and the root\n" +
			"file system of machines. It is an OCI image layout, and nothing in it is used before its digest was checked.",
		Example: "  slipway images build\n  slipway images load dev app.tar",
		Args:    cobra.NoArgs, // or a mistyped subcommand would print this help and succeed
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newImagesBuild(o), newImagesListed(o), newImagesVerify(o))
	return c
}

// bundleFlags choose a bundle: by its version among the built ones, or by its directory.
type bundleFlags struct{ version, dir string }

func (f *bundleFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.version, "kubernetes-version", "", "Kubernetes version or minor (default: the newest supported)")
	c.Flags().StringVar(&f.dir, "bundle", "", "directory of the bundle (default: the built one of that version)")
	c.MarkFlagsMutuallyExclusive("kubernetes-version", "bundle")
}

func (f *bundleFlags) path(o *options) (string, error) {
	if f.dir != "" {
		return absolute(f.dir), nil
	}
	set, err := pins.For(f.version)
	return localcluster.BundleDir(o.CacheDir, set.Kubernetes), err
}

func (f *bundleFlags) open(o *options) (*images.Bundle, error) {
	dir, err := f.path(o)
	if err != nil {
		return nil, err
	}
	return images.Open(dir)
}

func newImagesListed(o *options) *cobra.Command {
	var flags bundleFlags
	var output outputFormat
	c := &cobra.Command{
		Use: "list", Short: "List what is in a bundle", Args: cobra.NoArgs,
		Long:    "List the components of a bundle with version, digest and compressed size.",
		Example: "  slipway images list --kubernetes-version 1.36\n  slipway images list -o json",
		RunE: func(*cobra.Command, []string) error {
			b, err := flags.open(o)
			if err != nil {
				return err
			}
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
		Long:    "Read every blob of a bundle and name each one that is missing or damaged, with the component it belongs to.",
		Example: "  slipway images verify --bundle /media/stick/bundle",
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := flags.open(o)
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
