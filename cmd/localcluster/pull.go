package localcluster

import (
	"context"
	"path/filepath"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/registry"
)

// askedRef is the reference that was given, or empty for a directory. What a tag meant when a cluster was made, it goes on to
// mean for that cluster.
func askedRef(o Options) string {
	if registry.IsRef(o.Bundle) {
		return o.Bundle
	}
	return ""
}

// pullBundle opens a bundle that is in a registry.
func pullBundle(ctx context.Context, d Dirs, o Options, report engine.Report) (*images.Bundle, error) {
	dir, err := Pull(ctx, d, o.Bundle, o.Registry, false, report)
	if err != nil {
		return nil, err
	}
	return openBundle(dir, o)
}

// pulled has the pulled bundles, each under its digest, beside those that were built here.
func pulled(d Dirs) string { return filepath.Join(d.Cache, "bundles") }

// Pull gets all of the bundle that ref names into the cache, unless it is there, and gives its directory. With check what is
// there is read, and what of it is damaged is fetched again.
func Pull(ctx context.Context, d Dirs, ref string, o registry.Options, check bool, report engine.Report) (dir string, err error) {
	r, err := registry.Parse(ref)
	if err != nil {
		return "", err
	}
	root := pulled(d)
	if dir := registry.Dir(root, r.Digest()); !check && r.Digest() != "" && registry.Here(dir, r.Digest(), registry.Whole) {
		return dir, nil
	}
	err = engine.Run(ctx, "", []engine.Step{
		oneStep("pull-bundle", func(ctx context.Context, progress func(string)) error {
			b, err := registry.Open(ctx, r, o)
			if err != nil {
				return err
			}
			defer b.Close()
			dir = registry.Dir(root, b.Digest())
			pull := b.Pull
			if check {
				pull = b.Repair
			}
			return pull(ctx, dir, registry.Whole, progress)
		}),
	}, report)
	return dir, err
}
