package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
)

// Dir is where the bundle with this digest lies below root.
func Dir(root, digest string) string {
	return filepath.Join(root, strings.Replace(digest, ":", "-", 1))
}

// Selection says which components of a bundle are wanted; of the others only the manifests are.
type Selection func(images.Component) bool

// Whole is all of a bundle.
func Whole(images.Component) bool { return true }

// ForServers is what a host that has an operating system needs.
func ForServers(c images.Component) bool { return c.Kind != images.KindRootfs }

// Here tells whether the directory has the bundle with this digest and all that is wanted of it, by the sizes of the
// blobs. What is in them is checked when they are used.
func Here(dir, digest string, want Selection) bool {
	b, err := images.Open(dir)
	if err != nil || b.Digest() != digest {
		return false
	}
	for _, d := range b.Blobs(want) {
		if !has(dir, d) {
			return false
		}
	}
	return true
}

// lockFile is in the directory of a bundle that was pulled, and stays there.
const lockFile = ".pull.lock"

// Pull makes dir the bundle, with what is wanted of it. Blobs that are there, or in a bundle beside it, are not fetched; an
// interrupted pull goes on where it stopped, and a second one at the same time waits for the first. The directory becomes
// a bundle at the end, with its index. The faults are those of Open, bundle-corrupt, and disk-full.
func (r *Remote) Pull(ctx context.Context, dir string, want Selection, report func(string)) error {
	return r.locked(ctx, dir, func(op string) error {
		if Here(dir, r.Digest(), want) {
			return nil
		}
		return r.pull(ctx, op, dir, want, has, report)
	})
}

// Repair is Pull that reads what is there, and fetches again what of it is damaged.
func (r *Remote) Repair(ctx context.Context, dir string, want Selection, report func(string)) error {
	return r.locked(ctx, dir, func(op string) error {
		report("check what is here")
		return r.pull(ctx, op, dir, want, intact, report)
	})
}

// locked does something to dir that only one may do at a time.
func (r *Remote) locked(ctx context.Context, dir string, do func(op string) error) error {
	op := fmt.Sprintf("pull bundle %q to %q", r.Ref(), dir)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a bundle has no secrets
		return fmt.Errorf("%s: %w", op, err)
	}
	held, err := flock.Wait(ctx, filepath.Join(dir, lockFile), flock.Exclusive)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer held.Unlock()
	if err := do(op); err != nil {
		return r.diskOr(op, err)
	}
	return nil
}

// diskOr keeps the errors of this host's disk apart from those of the registry.
func (r *Remote) diskOr(op string, err error) error {
	var path *os.PathError
	switch {
	case len(fault.All(err)) > 0:
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fault.New("disk-full", op, err, "free some space and run the same command again: it goes on where it stopped")
	case errors.As(err, &path):
		return fmt.Errorf("%s: %w", op, err)
	}
	return r.repo.failed(op, err)
}

// pull gets the blobs that are not there already, which here tells.
func (r *Remote) pull(
	ctx context.Context, op, dir string, want Selection, here func(string, v1.Descriptor) bool, report func(string),
) error {
	if err := vacant(dir, r.Digest()); err != nil {
		return err
	}
	var todo []v1.Descriptor
	var missing int64
	for _, d := range r.Blobs(want) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !here(dir, d) && r.takeOver(dir, d) != nil {
			todo = append(todo, d)
			missing += d.Size
		}
	}
	if err := checkSpace(op, dir, missing); err != nil {
		return err
	}
	m := newMeter("%d of %d MiB", missing, report)
	defer m.stop()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, d := range todo {
		g.Go(func() error { return r.fetch(gctx, dir, d, m.add) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	index, err := os.ReadFile(filepath.Join(r.Dir(), v1.ImageIndexFile))
	if err != nil {
		return err
	}
	return writeLayout(dir, index)
}

// vacant refuses a directory that is another bundle, or any other OCI image layout: its index would be lost.
func vacant(dir, want string) error {
	index, err := os.ReadFile(filepath.Join(dir, v1.ImageIndexFile))
	if err == nil {
		found := digest.FromBytes(index).String()
		if found == want {
			return nil
		}
		err = fmt.Errorf("there is another one in it, %s", found)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return fault.New("option-invalid", fmt.Sprintf("put bundle %s into %q", want, dir), err, "choose another directory, or remove that one")
}

// takeOver gets a blob from what is small and here already, or from a bundle beside dir.
func (r *Remote) takeOver(dir string, d v1.Descriptor) error {
	beside, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", v1.ImageBlobsDir, "sha256", d.Digest.Encoded()))
	if err != nil {
		return err
	}
	err = fmt.Errorf("%s: %w", d.Digest, os.ErrNotExist)
	for _, from := range append([]string{blobPath(r.Dir(), d)}, beside...) {
		if err = linkBlob(from, blobPath(dir, d), d); err == nil {
			return nil
		}
	}
	return err
}

// reserve is left free on the disk.
const reserve = 64 << 20

func checkSpace(op, dir string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the free space of %q: %w", dir, err)
	}
	free := int64(st.Bavail) * st.Bsize //nolint:gosec // no disk has 2^63 bytes
	if need == 0 || free >= need+reserve {
		return nil
	}
	return fault.New("disk-full", op, fmt.Errorf("it needs %d MiB, %d MiB are free", (need+reserve)>>20, free>>20),
		"free some space, or choose another folder")
}

// writeFile makes a file that has its name only once it is whole and on the disk.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a bundle has no secrets
		return err
	}
	return renameio.WriteFile(path, data, 0o644)
}

// meter says each second how much of a transfer is done.
type meter struct {
	done        atomic.Int64
	quit, ended chan struct{}
}

func newMeter(format string, total int64, report func(string)) *meter {
	m := &meter{quit: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-m.quit:
				return
			case <-tick.C:
				report(fmt.Sprintf(format, m.done.Load()>>20, total>>20))
			}
		}
	}()
	return m
}

func (m *meter) add(n int64) { m.done.Add(n) }

// stop ends the meter: after it nothing is reported any more.
func (m *meter) stop() {
	close(m.quit)
	<-m.ended
}
