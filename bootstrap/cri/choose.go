package cri

import (
	"os"

	"slipway.dev/slipway/bootstrap"
)

// Choose says what a node does with the containerd that look finds on this host. nil is for a host without any. insist is for one that the
// administrator wants to be used whatever it is.
func Choose(look func() (*Found, error), insist bool) *bootstrap.Runtime {
	f, err := look()
	if err == nil && (insist || len(f.Unfit) == 0) {
		return &bootstrap.Runtime{Used: true, Sandbox: f.Sandbox}
	}
	if insist {
		return &bootstrap.Runtime{Used: true} // it may come later
	}
	left, _ := os.ReadDir(StoreDir) // none are there where it cannot be read
	if err == nil || len(left) > 0 {
		return &bootstrap.Runtime{}
	}
	return nil
}
