package treecopy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Digest is the SHA-256 of a tree: of the name, kind, mode, owner and size of everything in it, and of what is in those files that
// read asks for.
func Digest(ctx context.Context, dir string, read func(path string) bool) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(full string, e fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		path, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return digestOne(ctx, h, full, path, info, read)
	})
	if err != nil {
		return "", fmt.Errorf("read %q: %w", dir, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func digestOne(ctx context.Context, h hash.Hash, full, path string, info fs.FileInfo, read func(string) bool) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("no details of %q", full)
	}
	size, target := info.Size(), ""
	switch mode := info.Mode(); {
	case mode.IsDir():
		size = 0 // is the file system's affair
	case mode&fs.ModeSymlink != 0:
		var err error
		if target, err = os.Readlink(full); err != nil {
			return err
		}
	}
	fmt.Fprintf(h, "%q %o %d %d %d %d %q\n", path, st.Mode, st.Uid, st.Gid, size, st.Rdev, target)
	if !info.Mode().IsRegular() || !read(path) {
		return nil
	}
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer f.Close()
	for err == nil {
		if err = ctx.Err(); err == nil {
			_, err = io.CopyN(h, f, chunk)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
