package registry

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/slipway/images"
)

// LockFile is what a pull leaves behind beside the bundle.
const LockFile = lockFile

// SetIdle makes a test of silent connections short.
func (r *Remote) SetIdle(d time.Duration) { r.idle = d }

// PushThrough is Push through a connection of the test's own.
func PushThrough(ctx context.Context, b *images.Bundle, ref Ref, base http.RoundTripper) error {
	repo, err := newRepository(ref, Options{}, storeTime)
	if err != nil {
		return err
	}
	repo.base = base
	return repo.push(ctx, b, func(string) {})
}
