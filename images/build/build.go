package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/semaphore"

	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/internal/fault"
)

// Options say what to build and where.
type Options struct {
	Version    string   // Kubernetes version or minor; empty: the default
	Output     string   // the bundle's folder
	CacheDir   string   // finished parts are kept in build/ below it
	Components []string // only these; empty: all
	Jobs       int      // units made at the same time; 0: two
	Report     func(Progress)
}

type builder struct {
	cache    string
	slots    *semaphore.Weighted
	progress *tracker
}

// Build makes the bundle of one Kubernetes version. Called again after an interruption it goes on
// where it stopped; with everything in the cache it only lays the files together.
func Build(ctx context.Context, o Options) error {
	s, err := pins.For(o.Version)
	if err != nil {
		return err
	}
	b, err := newBuilder(o)
	if err != nil {
		return err
	}
	g, err := newGraph(s, o.Components, findToolchain(ctx))
	if err != nil {
		return err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return failed(s, err)
	}
	defer unlock()
	if err := b.heal(ctx, g.components); err != nil {
		return failed(s, err)
	}
	todo := b.missing(g.components)
	if err := b.check(ctx, todo, o); err != nil {
		return err
	}
	b.progress.total = len(todo)
	dirs, err := b.ensureAll(ctx, g.components)
	if err != nil {
		return failed(s, err)
	}
	if err := writeLayout(o.Output, s, dirs); err != nil {
		return failed(s, err)
	}
	return nil
}

func newBuilder(o Options) (*builder, error) {
	jobs := o.Jobs
	if jobs == 0 {
		jobs = 2
	}
	cache, err := filepath.Abs(filepath.Join(o.CacheDir, "build"))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(cache, 0o755), os.MkdirAll(o.Output, 0o755)); err != nil {
		return nil, fault.New("build-failed", "make the folders of the build", err, "choose folders that can be written")
	}
	return &builder{cache: cache, slots: semaphore.NewWeighted(int64(jobs)), progress: &tracker{report: o.Report}}, nil
}

func failed(s pins.Set, err error) error {
	op := fmt.Sprintf("build the bundle of Kubernetes %s", s.Kubernetes)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.New("build-interrupted", op, err, "run the build again; it goes on where it stopped")
	}
	return fault.New("build-failed", op, err, "read the last lines of the output above; run the build again to go on where it stopped")
}
