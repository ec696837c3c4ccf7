package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// Program is where the fleet's own binary lies on every host.
const Program = "/usr/local/bin/slipway"

// Ready gives the host of a node as soon as there is one.
type Ready func(ctx context.Context, s *bootstrap.NodeSpec) (*Host, error)

// Converge brings up all nodes at the same time, each as soon as its host is there. The first failure
// cancels the others; all failures are returned, each with its host.
func Converge(ctx context.Context, specs []*bootstrap.NodeSpec, ready Ready, report engine.Report) error {
	g, ctx := errgroup.WithContext(ctx)
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
			if len(failed) == 0 || ctx.Err() == nil {
				failed = append(failed, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return errors.Join(failed...)
	}
	return nil
}

func convergeOne(ctx context.Context, s *bootstrap.NodeSpec, ready Ready, report engine.Report) error {
	h, err := ready(ctx, s)
	if err != nil {
		return err
	}
	spec, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write node specification: %w", err)
	}
	var stderr tail
	var problem *engine.Problem
	pr, pw := io.Pipe()
	read := make(chan struct{})
	go func() {
		defer close(read)
		problem = relay(pr, h.Name, report)
	}()
	err = h.Run(ctx, []string{Program, "node", "converge"}, bytes.NewReader(spec), pw, &stderr)
	_ = pw.Close()
	<-read
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case problem != nil:
		return problem.Fault(h.Name)
	}
	return fault.New("converge-failed", "bring up the node", fmt.Errorf("%w: %s", err, stderr.String()),
		"look at the node's log with `slipway logs`, then run the same command again")
}

// relay passes events on until the stream ends, and returns the first problem among them.
func relay(r io.Reader, host string, report engine.Report) *engine.Problem {
	var first *engine.Problem
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e engine.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		e.Host = host
		if e.Error != nil && first == nil {
			first = e.Error
		}
		report(e)
	}
	_, _ = io.Copy(io.Discard, r) // a line too long to be an event must not block the host
	return first
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
