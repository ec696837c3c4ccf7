package cmd

import (
	"cmp"
	"io"
	"os"
	"path/filepath"
)

// options is what all commands share: streams and the three roots of everything that Slipway keeps.
type options struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	CacheDir       string // bundles and what is made of them: may be deleted at any time
	StateDir       string // clusters
	RunDir         string // what does not outlive a reboot
}

func newOptions() *options {
	return &options{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		CacheDir: cmp.Or(os.Getenv("SLIPWAY_CACHE"), "/var/cache/slipway"),
		StateDir: cmp.Or(os.Getenv("SLIPWAY_STATE"), "/var/lib/slipway"),
		RunDir:   cmp.Or(os.Getenv("SLIPWAY_RUN"), "/run/slipway"),
	}
}

// kubeconfigPath is the file that a context is merged into: as kubectl does, the first of $KUBECONFIG, or the one
// in the home directory.
func kubeconfigPath() string {
	if list := filepath.SplitList(os.Getenv("KUBECONFIG")); len(list) > 0 && list[0] != "" {
		return list[0]
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/root"
	}
	return filepath.Join(home, ".kube", "config")
}
