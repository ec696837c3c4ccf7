// Package flock locks files against other processes. The kernel gives a lock back when its process dies, so there is
// none that somebody must clear by hand.
package flock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Mode says who else may hold the lock.
type Mode int

// The modes.
const (
	Exclusive Mode = unix.LOCK_EX
	Shared    Mode = unix.LOCK_SH
)

// ErrHeld is wrapped by the error of Try when another process holds the lock.
var ErrHeld = errors.New("another process holds the lock")

// retry is how often a lock that somebody else holds is asked for again: flock has no variant that a context can end.
const retry = 10 * time.Millisecond

// Lock is a lock that is held.
type Lock struct{ file *os.File }

// Try takes the lock on path, whose file and directories are made if need be (0600, 0700), or fails with ErrHeld.
func Try(path string, mode Mode) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) { // whoever was last removed the directory just now
		return nil, fmt.Errorf("lock %q: %w", path, ErrHeld)
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), int(mode)|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK), err == nil && !stillThere(f, path):
		err = ErrHeld
	case err == nil:
		return &Lock{f}, nil
	}
	return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), f.Close())
}

// stillThere is false if whoever had the lock removed the file after we opened it.
func stillThere(f *os.File, path string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && os.SameFile(held, now)
}

// Wait takes the lock on path as soon as it is free, or fails when ctx ends.
func Wait(ctx context.Context, path string, mode Mode) (*Lock, error) {
	tick := time.NewTicker(retry)
	defer tick.Stop()
	for {
		l, err := Try(path, mode)
		if !errors.Is(err, ErrHeld) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Unlock gives the lock back and leaves its file.
func (l *Lock) Unlock() { _ = l.file.Close() }

// Remove gives an exclusive lock back and removes its file. Who waits for it makes a new one.
func (l *Lock) Remove() {
	_ = os.Remove(l.file.Name())
	l.Unlock()
}
