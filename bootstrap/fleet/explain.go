package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/internal/fault"
)

// askLimit is how long a host on which something failed is asked for its logs.
const askLimit = 5 * time.Second

// LogEnd asks a host for the end of the log that says why a step of it failed, or does not end. What cannot be had is not missed: the
// failure itself is what counts.
func (h *Host) LogEnd(ctx context.Context, step string) *fault.Log {
	if step == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	var out, stderr bytes.Buffer
	if err := h.Run(ctx, []string{bootstrap.Program, "node", "log-end", step}, strings.NewReader(""), &out, &stderr); err != nil {
		return nil
	}
	var log *fault.Log
	if json.Unmarshal(out.Bytes(), &log) != nil || log == nil || len(log.Lines) == 0 {
		return nil
	}
	return log
}

// oldest is the step that has not ended and began first, if any: others may only wait for the same.
func (p *progress) oldest() (step string) {
	for name, e := range p.at {
		if first := p.at[step]; first == nil || e.Start.Before(first.Start) {
			step = name
		}
	}
	return step
}

// Outdated tells whether the program on a host refused a command because it does not know it.
func Outdated(stderr string) bool { return strings.Contains(stderr, "error[wrong-call]") }

// TooOld is that the program on a host does not know what this one asks of it.
func TooOld(op, host string) error {
	f := fault.New("program-too-old", op, errors.New("the slipway in its machine is older than this one, and does not know how"),
		"use the slipway that the cluster was launched with, or launch the cluster again with this one")
	f.Host = host
	return f
}
