package build

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// heal drops units whose blobs are not what their names say, so that they are made again: a
// damaged file in the cache would else come back with every bundle.
func (b *builder) heal(ctx context.Context, units []*unit) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for _, u := range withNeeds(units) {
		if !b.cached(u) {
			continue
		}
		g.Go(func() error {
			if ctx.Err() != nil || intact(filepath.Join(b.dir(u), "blobs")) {
				return ctx.Err()
			}
			return os.RemoveAll(b.dir(u))
		})
	}
	return g.Wait()
}

// withNeeds lists the units and all that they need, each once.
func withNeeds(units []*unit) []*unit {
	seen := map[*unit]bool{}
	var out []*unit
	var walk func([]*unit)
	walk = func(units []*unit) {
		for _, u := range units {
			if !seen[u] {
				seen[u] = true
				out = append(out, u)
				walk(u.needs)
			}
		}
	}
	walk(units)
	return out
}

// intact says that every blob in dir has the digest it is named after; a unit of programs has none.
func intact(dir string) bool {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return true
	}
	if err != nil {
		return false
	}
	for _, e := range entries {
		if !named(filepath.Join(dir, e.Name()), e.Name()) {
			return false
		}
	}
	return true
}

func named(file, hex string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	d := digest.Canonical.Digester()
	_, err = io.Copy(d.Hash(), f)
	return err == nil && d.Digest().Encoded() == hex
}
