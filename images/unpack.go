package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
)

// Unpacked is a bundle as the directories that machines on this computer share. Nobody writes to them.
type Unpacked struct {
	Rootfs     string // root file system of a machine
	Files      string // host binaries, to be laid over it; see ForNodes and Plugin
	Containerd string // a complete /var/lib/containerd, without the image of Plugin; see CloneContainerd
}

// Unpack makes those directories below dir, once for each bundle: a second call finds them, and a call at the same
// time waits for the first.
func (b *Bundle) Unpack(ctx context.Context, dir string, report func(string)) (*Unpacked, error) {
	final := b.UnpackedIn(dir)
	if err := b.unpackOnce(ctx, final, report); err != nil {
		if len(fault.All(err)) > 0 || ctx.Err() != nil {
			return nil, err
		}
		return nil, fault.New("bundle-unpack-failed", fmt.Sprintf("unpack bundle %q to %q", b.dir, final), err,
			"run the command again; if it fails again, see the cause above")
	}
	return unpackedIn(final), nil
}

// unpacking is the version of what Unpack makes of a bundle. What an older one has made stays, for the machines that use it.
const unpacking = "2"

// UnpackedIn is the directory below dir that Unpack makes of this bundle.
func (b *Bundle) UnpackedIn(dir string) string {
	return filepath.Join(dir, strings.TrimPrefix(b.digest, "sha256:")[:12]+"-"+unpacking)
}

func unpackedIn(dir string) *Unpacked {
	return &Unpacked{
		Rootfs: filepath.Join(dir, "rootfs"), Files: filepath.Join(dir, "files"), Containerd: filepath.Join(dir, "containerd"),
	}
}

func (b *Bundle) unpackOnce(ctx context.Context, final string, report func(string)) error {
	if exists(final) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	held, err := flock.Wait(ctx, final+".lock", flock.Exclusive)
	if err != nil {
		return err
	}
	defer func() {
		held.Remove()
		_ = os.Remove(filepath.Dir(final)) // only when nothing is in it
	}()
	if exists(final) { // somebody else was faster
		return nil
	}
	if err := removeLeftOvers(final); err != nil {
		return err
	}
	if err := b.checkSpace(filepath.Dir(final)); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(final), filepath.Base(final)+".tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := b.unpackInto(ctx, tmp, report); err != nil {
		return err
	}
	return errors.Join(os.Chmod(tmp, 0o755), syncFS(tmp), os.Rename(tmp, final))
}

// removeLeftOvers clears what a run that was killed has left. The lock is held: no run of now is among them.
func removeLeftOvers(final string) error {
	old, err := filepath.Glob(final + ".tmp-*")
	for _, dir := range old {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

func (b *Bundle) unpackInto(ctx context.Context, dir string, report func(string)) error {
	u := unpackedIn(dir)
	g, ctx := errgroup.WithContext(ctx)
	for _, name := range b.names(KindRootfs) {
		g.Go(func() error { return b.unpackPart(ctx, name, u.Rootfs, report) })
	}
	g.Go(func() error {
		if err := b.unpackPart(ctx, "containerd", u.Files, report); err != nil {
			return err
		}
		g.Go(func() error { return b.unpackFiles(ctx, u.Files, report) })
		return b.makeStore(ctx, filepath.Join(u.Files, "usr/local/bin/containerd"), u.Containerd, report)
	})
	return g.Wait()
}

func (b *Bundle) unpackFiles(ctx context.Context, dir string, report func(string)) error {
	names := b.ForNodes()
	if b.hasPlugin() {
		names = append(names, Plugin)
	}
	for _, name := range names {
		if name == "containerd" {
			continue
		}
		if err := b.unpackPart(ctx, name, dir, report); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bundle) unpackPart(ctx context.Context, name, dir string, report func(string)) error {
	p, err := b.part(name)
	if err != nil {
		return err
	}
	files, err := b.extractTo(ctx, p, dir)
	if err != nil {
		return err
	}
	say(report, "unpacked "+name)
	return writeStamp(p, dir, files)
}

// unpackedFactor is how much larger files are than the compressed blobs, rounded up from that of the real bundles.
const unpackedFactor = 5

func (b *Bundle) checkSpace(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the free space of %q: %w", dir, err)
	}
	free := int64(st.Bavail) * st.Bsize //nolint:gosec // no disk has 2^63 bytes
	need := unpackedFactor * b.size(KindImage, KindFiles, KindRootfs)
	if free < need {
		return fault.New("disk-full", fmt.Sprintf("unpack bundle %q to %q", b.dir, dir),
			fmt.Errorf("it needs %d MiB, %d MiB are free", need>>20, free>>20), "free some space, or choose another folder")
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func say(report func(string), line string) {
	if report != nil {
		report(line)
	}
}
