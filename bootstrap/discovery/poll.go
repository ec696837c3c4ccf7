package discovery

import (
	"context"
	"fmt"
	"time"

	"slipway.dev/slipway/internal/fault"
)

// interval is how often a cluster that is not ready is asked: it has nothing that could be watched without a name.
const interval = 250 * time.Millisecond

// healableError is a fault that time may mend.
type healableError struct{ fault *fault.Error }

func (h healableError) Error() string { return h.fault.Error() }
func (h healableError) Unwrap() error { return h.fault }

// poll tries until the outcome is none that can heal. When ctx ends first, its fault is the last one of a whole attempt.
func poll[T any](ctx context.Context, progress func(string), try func(context.Context) (T, error)) (T, error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var last *fault.Error
	for {
		out, err := try(ctx)
		h, ok := err.(healableError) //nolint:errorlint // made for this place, and never wrapped
		if !ok {
			return out, err
		}
		if last == nil || ctx.Err() == nil {
			if progress != nil && (last == nil || last.Error() != h.Error()) {
				progress(h.Error())
			}
			last = h.fault
		}
		select {
		case <-ctx.Done():
			return out, fault.New(last.ID, last.Op, fmt.Errorf("%w (gave up: %w)", last.Err, context.Cause(ctx)), last.Next)
		case <-tick.C:
		}
	}
}
