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
	CacheDir       string // bundles and what is made of them: may be deleted while there is no cluster
	StateDir       string // clusters
	RunDir         string // what does not outlive a reboot
}

func newOptions() *options {
	return &options{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		CacheDir: absolute(cmp.Or(os.Getenv("SLIPWAY_CACHE"), "/var/cache/slipway")),
		StateDir: absolute(cmp.Or(os.Getenv("SLIPWAY_STATE"), "/var/lib/slipway")),
		RunDir:   absolute(cmp.Or(os.Getenv("SLIPWAY_RUN"), "/run/slipway")),
	}
}

// absolute is for what is written down: the next run may start in another directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// kubeconfigPath is the file that a context is merged into: as kubectl does, the first of $KUBECONFIG, or the one
// in the home directory.
func kubeconfigPath() string {
	if list := filepath.SplitList(os.Getenv("KUBECONFIG")); len(list) > 0 && list[0] != "" {
		return absolute(list[0])
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/root"
	}
	return filepath.Join(home, ".kube", "config")
}
