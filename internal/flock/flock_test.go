package flock_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"slipway.dev/slipway/internal/flock"
)

func TestTry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "lock")
	first, err := flock.Try(path, flock.Shared)
	if err != nil {
		t.Fatal(err)
	}
	second, err := flock.Try(path, flock.Shared)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flock.Try(path, flock.Exclusive); !errors.Is(err, flock.ErrHeld) {
		t.Errorf("beside shared locks: %v", err)
	}
	first.Unlock()
	second.Unlock()
	third, err := flock.Try(path, flock.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	third.Remove()
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is still there")
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := flock.Try(path, flock.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Unlock()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := flock.Wait(ctx, path, flock.Exclusive); !errors.Is(err, why) || !errors.Is(err, flock.ErrHeld) {
		t.Errorf("got %v", err)
	}
}

// TestRemoveKeepsOthersOut lets many take and remove one lock: never do two hold it, though its file comes and goes.
func TestRemoveKeepsOthersOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l, err := flock.Wait(t.Context(), path, flock.Exclusive)
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				inside.Add(-1)
				l.Remove()
			}
		})
	}
	wg.Wait()
}
