package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/internal/fault"
)

func newConfig(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "Write and describe the files that --config takes",
		Long: "`slipway up`, `init` and `join` take their settings from a file too, with --config: " + strings.Join(config.Kinds(), ", ") + ".",
		Args: cobra.NoArgs,
	}
	c.AddCommand(newConfigInit(o), newConfigSchema(o))
	return c
}

func newConfigInit(o *options) *cobra.Command {
	var kind string
	var force bool
	c := &cobra.Command{
		Use: "init [FILE]", Short: "Write a file with all settings, each explained",
		Long: "Writes a file for --config, to FILE or else to stdout. It has all settings that there are, with their defaults; those\n" +
			"without a default are commented out. A file that is there is left as it is, unless --force says otherwise.",
		Example: "  slipway config init dev.yaml\n  slipway up --config dev.yaml\n  slipway config init --kind InitConfiguration init.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkKind(kind); err != nil {
				return err
			}
			text, err := config.Example(kind)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				_, err = o.Stdout.Write(text)
				return err
			}
			return writeExample(args[0], text, kind, force)
		},
	}
	c.Flags().StringVar(&kind, "kind", config.LocalKind, "of what kind: "+strings.Join(config.Kinds(), ", "))
	c.Flags().BoolVar(&force, "force", false, "write over a file that is there")
	return c
}

// writeExample makes a file that may hold secrets its owner's alone.
func writeExample(path string, text []byte, kind string, force bool) error {
	mode, how := fs.FileMode(0o644), os.O_WRONLY|os.O_CREATE|os.O_EXCL
	if kind == config.JoinKind {
		mode = 0o600
	}
	if force {
		how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, how, mode)
	if errors.Is(err, fs.ErrExist) {
		return fault.New("file-exists", fmt.Sprintf("write %q", path), errors.New("there is such a file already"),
			"choose another name, or give --force to write over it")
	}
	if err != nil {
		return fmt.Errorf("write example: %w", err)
	}
	_, err = f.Write(text)
	if force && kind == config.JoinKind {
		err = errors.Join(err, f.Chmod(mode))
	}
	return errors.Join(err, f.Close())
}

func newConfigSchema(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "schema [KIND]", Short: "Print the JSON Schema of such a file",
		Long: "Prints the JSON Schema of a kind, of LocalCluster unless another is given. Editors check and complete a file by it, with a\n" +
			"first line as in the example.",
		Example: "  slipway config schema > slipway.json\n  slipway config schema InitConfiguration\n\n" +
			"dev.yaml:\n\n  # yaml-language-server: $schema=slipway.json\n  apiVersion: " + config.APIVersion + "\n  kind: " + config.LocalKind,
		Args: cobra.MaximumNArgs(1), ValidArgs: config.Kinds(),
		RunE: func(_ *cobra.Command, args []string) error {
			kind := config.LocalKind
			if len(args) > 0 {
				kind = args[0]
			}
			if err := checkKind(kind); err != nil {
				return err
			}
			text, err := config.Schema(kind)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(o.Stdout, "%s\n", text)
			return err
		},
	}
}

func checkKind(kind string) error {
	if slices.Contains(config.Kinds(), kind) {
		return nil
	}
	return fault.New("option-invalid", fmt.Sprintf("use the kind %q", kind),
		fmt.Errorf("it is one of %s", strings.Join(config.Kinds(), ", ")), "see `slipway config --help`")
}
