package cmd

import (
	"errors"

	"github.com/spf13/cobra"
)

// outputFormat is text or json.
type outputFormat string

func outputFlag(c *cobra.Command, output *outputFormat) {
	*output = "text"
	c.Flags().VarP(output, "output", "o", "how to print: text or json")
}

func (f *outputFormat) String() string { return string(*f) }
func (f *outputFormat) Type() string   { return "format" }

func (f *outputFormat) Set(s string) error {
	if s != "text" && s != "json" {
		return errors.New("it is text or json")
	}
	*f = outputFormat(s)
	return nil
}
