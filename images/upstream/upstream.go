// Package upstream holds one small Go module per upstream project: NAME.mod and NAME.sum. They
// pin every byte that is compiled into the bundle; the sums are checked against the Go checksum
// database when they are made, and against the committed files at every build.
//
// They lie flat under other names than go.mod because a directory with a go.mod would be a module
// of its own, which cannot be embedded.
//
// Not in it: what is compiled from them (images/build) and the table of versions (images/pins).
package upstream

import (
	"embed"
	"fmt"
)

//go:embed *.mod *.sum
var files embed.FS

// Module gives the go.mod and go.sum of an upstream.
func Module(name string) (mod, sum []byte, err error) {
	if mod, err = files.ReadFile(name + ".mod"); err != nil {
		return nil, nil, fmt.Errorf("read the module of %q: %w", name, err)
	}
	if sum, err = files.ReadFile(name + ".sum"); err != nil {
		return nil, nil, fmt.Errorf("read the checksums of %q: %w", name, err)
	}
	return mod, sum, nil
}
