package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
)

// unit is one directory in the cache. Its key covers inputs and the keys of what it needs.
type unit struct {
	name   string
	inputs []string
	tools  []string
	needs  []*unit
	// make fills dir; the directories of what it needs come in the same order.
	make func(ctx context.Context, b *builder, dir string, needs []string) error

	once sync.Once
	err  error
}

func (u *unit) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", u.name, u.inputs)
	for _, n := range u.needs {
		fmt.Fprintf(h, " %s", n.key())
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

func (b *builder) dir(u *unit) string {
	return filepath.Join(b.cache, u.name+"-"+u.key())
}

func (b *builder) cached(u *unit) bool {
	_, err := os.Stat(b.dir(u))
	return err == nil
}

// ensure gives the directory of u and makes it, and before it what it needs, when it is not there.
func (b *builder) ensure(ctx context.Context, u *unit) (string, error) {
	u.once.Do(func() {
		if !b.cached(u) {
			u.err = b.produce(ctx, u)
		}
	})
	return b.dir(u), u.err
}

func (b *builder) produce(ctx context.Context, u *unit) error {
	needs, err := b.ensureAll(ctx, u.needs)
	if err != nil {
		return err
	}
	if err := b.slots.Acquire(ctx, 1); err != nil {
		return err
	}
	defer b.slots.Release(1)
	done := b.progress.start(u.name)
	defer done()
	return b.inTemp(u, func(dir string) error { return u.make(ctx, b, dir, needs) })
}

// inTemp shows the finished directory under its name only when it is complete.
func (b *builder) inTemp(u *unit, fill func(dir string) error) error {
	tmp, err := os.MkdirTemp(b.cache, ".tmp-"+u.name+"-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	// Debian's tools drop privileges and must be able to walk through.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return fmt.Errorf("build %s: %w", u.name, err)
	}
	if err := os.Rename(tmp, b.dir(u)); err != nil && !b.cached(u) {
		return err
	}
	return nil
}

func (b *builder) ensureAll(ctx context.Context, units []*unit) ([]string, error) {
	dirs := make([]string, len(units))
	g, ctx := errgroup.WithContext(ctx)
	for i, u := range units {
		g.Go(func() (err error) {
			dirs[i], err = b.ensure(ctx, u)
			return err
		})
	}
	return dirs, g.Wait()
}
