package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
)

// Host is a machine that has been reached. Run runs a program there and returns when it has ended.
type Host struct {
	Name string
	Run  func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error
}

// Ready gives the host of a node as soon as there is one.
type Ready func(ctx context.Context, s *bootstrap.NodeSpec) (*Host, error)

// Converge brings up all nodes at the same time, each as soon as its host is there. The first failure
// cancels the others; all failures are returned, each with its host.
func Converge(ctx context.Context, specs []*bootstrap.NodeSpec, ready Ready, report engine.Report) error {
	var g errgroup.Group
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var failed []error
	for _, s := range specs {
		g.Go(func() error {
			err := convergeOne(ctx, s, ready, report)
			if err == nil {
				return nil
			}
			err = fault.On(s.Node.Name, err)
			mu.Lock()
			defer mu.Unlock()
			if !errors.Is(err, errStopped) {
				failed = append(failed, err)
			}
			cancel(errStopped)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return errors.Join(failed...)
	}
	return nil
}

// errStopped is why the other hosts are stopped when one has failed.
var errStopped = errors.New("another node failed")

func convergeOne(ctx context.Context, s *bootstrap.NodeSpec, ready Ready, report engine.Report) error {
	h, err := ready(ctx, s)
	if err != nil {
		return err
	}
	return h.Do(ctx, "bring up the node", s, report, "converge")
}

// Do runs one of the commands that Slipway has for a host there, on the node of a specification, and passes its events on.
func (h *Host) Do(ctx context.Context, op string, s *bootstrap.NodeSpec, report engine.Report, command ...string) error {
	spec, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write node specification: %w", err)
	}
	var stderr tail
	var seen progress
	pr, pw := io.Pipe()
	read := make(chan struct{})
	go func() {
		defer close(read)
		seen.relay(pr, h.Name, report)
	}()
	err = h.Run(ctx, append([]string{bootstrap.Program, "node"}, command...), bytes.NewReader(spec), pw, &stderr)
	_ = pw.Close()
	<-read
	switch {
	case err == nil:
		return nil
	case seen.problem != nil:
		f := seen.problem.Fault(h.Name, seen.failed)
		f.Log = h.LogEnd(ctx, seen.failed)
		return f
	case errors.Is(context.Cause(ctx), context.Canceled), errors.Is(context.Cause(ctx), errStopped):
		return context.Cause(ctx)
	case ctx.Err() != nil:
		f := fault.New("converge-stopped", op, errors.New(seen.unfinished()), "run the same command again: it goes on where it stopped")
		if f.Log = h.LogEnd(ctx, seen.oldest()); f.Log != nil {
			f.Next = "mend what the log says, if that is why, and run the same command again"
		}
		return f
	case Outdated(stderr.String()):
		return TooOld(op, h.Name)
	}
	return fault.New("converge-failed", op, fmt.Errorf("%w: %s", err, stderr.String()),
		"look at the node's log with `slipway logs`, then run the same command again")
}

// progress is what the events of one host have said so far.
type progress struct {
	problem *engine.Problem          // the first
	failed  string                   // its step
	at      map[string]*engine.Event // the last event of each step that has not ended
}

// relay passes events on until the stream ends.
func (p *progress) relay(r io.Reader, host string, report engine.Report) {
	p.at = map[string]*engine.Event{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e engine.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		e.Host = host
		p.note(e)
		report(e)
	}
	_, _ = io.Copy(io.Discard, r) // a line too long to be an event must not block the host
}

func (p *progress) note(e engine.Event) {
	if e.Error != nil && p.problem == nil {
		p.problem, p.failed = e.Error, e.Step
	}
	switch e.State {
	case engine.Started, engine.Waiting:
		p.at[e.Step] = &e
	case engine.Stopped: // what it was at remains to be said
	default:
		delete(p.at, e.Step)
	}
}

// unfinished says what was going on when the host was stopped.
func (p *progress) unfinished() string {
	var out []string
	for step, e := range p.at {
		if e.Message != "" {
			step += " (" + e.Message + ")"
		}
		out = append(out, step)
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "it was stopped between two steps"
	}
	return "it was still at " + strings.Join(out, ", ")
}

// tail keeps the end of what is written to it.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 4096
	t.buf = append(t.buf, p...)
	if len(t.buf) > most {
		t.buf = t.buf[len(t.buf)-most:]
	}
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.TrimSpace(t.buf)) }
