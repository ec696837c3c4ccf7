package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/fault"
)

const (
	lockWait  = 10 * time.Second
	lockPause = 50 * time.Millisecond
)

// lock takes the same lock as kubectl does: a file beside the kubeconfig. Nobody holds it longer
// than one write takes, so waiting a little is enough, and one that stays is left over.
func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of kubeconfig %q: %w", path, err)
	}
	name := path + ".lock"
	for deadline := time.Now().Add(lockWait); ; time.Sleep(lockPause) {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			return func() { _ = os.Remove(name) }, f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("lock kubeconfig %q: %w", path, err)
		}
		if time.Now().After(deadline) {
			return nil, fault.New("kubeconfig-locked", fmt.Sprintf("lock kubeconfig %q", path), err,
				fmt.Sprintf("end the program that edits it, or remove %q if there is none", name))
		}
	}
}

// replace writes beside the file and renames: whoever reads sees the old or the new, never a part.
func replace(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write kubeconfig %q: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write kubeconfig %q: %w", path, err)
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, keepOwner(f, path), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// keepOwner gives the new file to the owner of the old one, who may not be root.
func keepOwner(f *os.File, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil //nolint:nilerr // a new file belongs to whoever makes it
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return f.Chown(int(s.Uid), int(s.Gid))
	}
	return nil
}
