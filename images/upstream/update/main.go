// Update moves one upstream's module files to another version:
//
//	go run ./images/upstream/update kubernetes-1.37 v1.37.2
//
// It writes NAME.mod and NAME.sum. The table in images/pins is changed by hand: it is what a
// reviewer reads, and its tests fail until both say the same.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"

	"golang.org/x/mod/semver"

	"slipway.dev/slipway/images/pins"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) //nolint:forbidigo // a program's own main
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:forbidigo // a program's own main
	}
}

const folder = "images/upstream"

func run(ctx context.Context, args []string) error {
	if len(args) != 2 || !semver.IsValid(args[1]) {
		return errors.New("usage: go run ./images/upstream/update NAME VERSION, such as kubernetes-1.37 v1.37.2")
	}
	set, old, err := find(args[0])
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(folder, old.Name+".mod")); err != nil {
		return fmt.Errorf("find the module files; start this in the repository's top folder: %w", err)
	}
	work, err := os.MkdirTemp("", "slipway-update-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	u := update{set: set, old: old, version: args[1], work: work}
	if err := u.run(ctx); err != nil {
		return fmt.Errorf("move %s to %s: %w", old.Name, u.version, err)
	}
	fmt.Fprintf(os.Stderr, "%s is at %s, released %s. Now change images/pins/table.go, then: go test ./images/...\n",
		old.Name, u.version, u.released)
	return nil
}

// find looks for the upstream in every minor's pins.
func find(name string) (pins.Set, pins.Upstream, error) {
	var known []string
	for _, minor := range pins.Minors() {
		s, err := pins.For(minor)
		if err != nil {
			return pins.Set{}, pins.Upstream{}, err
		}
		for _, u := range s.Upstreams {
			if u.Name == name {
				return s, u, nil
			}
			known = append(known, u.Name)
		}
	}
	slices.Sort(known)
	known = slices.Compact(known)
	return pins.Set{}, pins.Upstream{}, fmt.Errorf("find the upstream %q: there are %v", name, known)
}
