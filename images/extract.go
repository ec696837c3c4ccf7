package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/fault"
)

// Extract puts a component of kind files or rootfs, or Plugin, below dest. Everything is written and checked in a folder beside
// it first; then each file is put in its place at once, over an older one if need be.
func (b *Bundle) Extract(ctx context.Context, component, dest string) error {
	return b.Install(ctx, component, dest, func(...string) error { return nil })
}

// Install is Extract that tells keep of all files that are about to be made or replaced.
func (b *Bundle) Install(ctx context.Context, component, dest string, keep func(paths ...string) error) error {
	p, err := b.hostPart(component)
	if err != nil {
		return err
	}
	if err := b.extract(ctx, p, dest, keep); err != nil {
		if len(fault.All(err)) > 0 || ctx.Err() != nil {
			return err
		}
		return fault.New("extract-failed", fmt.Sprintf("extract %q to %q", component, dest), err,
			"free the disk or repair the folder, then run the command again")
	}
	return nil
}

// Staging is the folder that a component is written to before its files are put in their places below dest.
func Staging(component, dest string) string { return filepath.Join(dest, ".slipway-"+component) }

func (b *Bundle) extract(ctx context.Context, p part, dest string, keep func(paths ...string) error) error {
	staging := Staging(p.Name, dest)
	if err := os.RemoveAll(staging); err != nil { // of a run that was killed
		return err
	}
	defer os.RemoveAll(staging)
	files, err := b.extractTo(ctx, p, staging)
	if err != nil {
		return err
	}
	if err := syncFS(staging); err != nil {
		return err
	}
	paths := []string{stampPath(dest, p.Name)}
	for _, name := range files {
		paths = append(paths, filepath.Join(dest, name))
	}
	if err := keep(paths...); err != nil {
		return err
	}
	if err := place(staging, dest); err != nil {
		return err
	}
	return writeStamp(p, dest, files)
}

// extractTo writes a component below a directory that nobody else uses yet.
func (b *Bundle) extractTo(ctx context.Context, p part, dir string) ([]string, error) {
	t, err := newTree(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	if p.Name == Plugin {
		err := b.extractPlugin(ctx, p, t)
		return t.files, err
	}
	if err := b.walk(ctx, p, t.add); err != nil {
		return nil, err
	}
	return t.files, t.finish()
}

// place moves all files from one tree into another. Directories that are there already stay as they are.
func place(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return placeDir(path, target)
		}
		return placeFile(path, target)
	})
}

func placeDir(from, to string) error {
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		return nil
	}
	return cloneDir(from, to)
}

// placeFile renames; where the target lies on another file system it copies beside it first.
func placeFile(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	tmp := filepath.Join(filepath.Dir(to), ".slipway-"+filepath.Base(to))
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := copyEntry(from, tmp); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, to)
}

// syncFS writes the file system of a directory out: one call for many files.
func syncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
