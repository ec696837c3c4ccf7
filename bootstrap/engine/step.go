package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/fault"
)

// Step is one thing that a host must have or do. Its constructor closes over exactly what it needs.
type Step struct {
	Name  string   // stable: users type it
	Needs []string // steps that must have ended first
	// Check looks and changes nothing. It returns what would change, or nothing if all is there.
	Check func(ctx context.Context) ([]string, error)
	// Look is what a plan asks instead of Check, for a step that is cheaper done than looked at. It may be nil.
	Look func(ctx context.Context) ([]string, error)
	// Do makes it so. It may be run again after a crash at any point.
	Do func(ctx context.Context, progress func(string)) error
	// Undo stops what the step started, before the journal puts back what the step changed.
	// It may be nil.
	Undo func(ctx context.Context) error
}

// ErrGraph is wrapped by errors about a list of steps that cannot be run.
var ErrGraph = errors.New("bad list of steps")

// Validate checks that names are unique and that needs name earlier steps, so that the list reads top to bottom.
func Validate(steps []Step) error {
	seen := map[string]bool{}
	for _, s := range steps {
		if s.Name == "" || s.Check == nil || s.Do == nil || seen[s.Name] {
			return fmt.Errorf("%w: step %q is incomplete or there twice", ErrGraph, s.Name)
		}
		for _, n := range s.Needs {
			if !seen[n] {
				return fmt.Errorf("%w: step %q needs %q, which is not above it", ErrGraph, s.Name, n)
			}
		}
		seen[s.Name] = true
	}
	return nil
}

// Run runs the steps as a graph: each as soon as what it needs has ended. The first failure cancels
// the context of the others, and all failures are returned. Report may be called concurrently.
func Run(ctx context.Context, host string, steps []Step, report Report) error {
	if err := Validate(steps); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	report = counted(report, len(steps))
	ended := make(map[string]chan struct{}, len(steps))
	for _, s := range steps {
		ended[s.Name] = make(chan struct{})
	}
	var failed failures
	var wg sync.WaitGroup
	for _, s := range steps {
		wg.Go(func() {
			if !await(ctx, s.Needs, ended) {
				return
			}
			if err := runStep(ctx, host, s, report); err != nil {
				failed.add(err)
				cancel(errStopped)
				return
			}
			close(ended[s.Name])
		})
	}
	wg.Wait()
	return failed.join(ctx)
}

// counted adds to the first event of a run how many steps there are.
func counted(report Report, steps int) Report {
	var first sync.Once
	return func(e Event) {
		first.Do(func() { e.Steps = steps })
		report(e)
	}
}

// await tells whether all these steps have ended before ctx did.
func await(ctx context.Context, needs []string, ended map[string]chan struct{}) bool {
	for _, n := range needs {
		select {
		case <-ended[n]:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

// errStopped is why the steps that still run are cancelled when one has failed.
var errStopped = errors.New("another step failed")

// failures collects what failed by itself.
type failures struct {
	mu   sync.Mutex
	errs []error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !errors.Is(err, errStopped) {
		f.errs = append(f.errs, err)
	}
}

// join gives all failures, or why ctx ended before a step could fail.
func (f *failures) join(ctx context.Context) error {
	if len(f.errs) == 0 && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(f.errs...)
}

// retold is what an event says of an error, with what the kernel said.
type retold struct {
	error
	errno syscall.Errno
}

func (r retold) Unwrap() error { return r.errno }

func runStep(ctx context.Context, host string, s Step, report Report) error {
	start := time.Now()
	send := func(e Event) {
		e.Version, e.Time, e.Host, e.Step, e.Start = 1, time.Now(), host, s.Name, start
		report(e)
	}
	send(Event{State: Started, Needs: s.Needs})
	state, err := converge(ctx, s, func(msg string) { send(Event{State: Waiting, Message: msg}) })
	end := Event{State: state, Seconds: time.Since(start).Seconds()}
	switch {
	case err == nil:
	case ctx.Err() != nil && errors.Is(err, context.Canceled), errors.Is(err, errStopped): // not by a context of its own
		end.State, err = Stopped, context.Cause(ctx)
	default:
		end.State, end.Error = Failed, NewProblem(s.Name, err)
		f := end.Error.Fault(host, s.Name)
		if errno := syscall.Errno(0); f.Err != nil && errors.As(err, &errno) {
			f.Err = retold{f.Err, errno}
		}
		err = f
	}
	send(end)
	return err
}

func converge(ctx context.Context, s Step, progress func(string)) (State, error) {
	change, err := s.Check(ctx)
	if err != nil {
		return Failed, fmt.Errorf("check: %w", err)
	}
	if len(change) == 0 {
		return Unchanged, nil
	}
	return Done, s.Do(ctx, progress)
}

// Without leaves out steps that somebody else does; those that need one of them then need what that needed. The fault is
// step-unknown.
func Without(steps []Step, names []string) ([]Step, error) {
	var known, unknown []string
	for _, s := range steps {
		known = append(known, s.Name)
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			unknown = append(unknown, n)
		}
	}
	if len(unknown) > 0 {
		return nil, fault.New("step-unknown", fmt.Sprintf("skip the steps %q", unknown), fmt.Errorf("the steps are %q", known),
			"use names of this list")
	}
	var out []Step
	instead := map[string][]string{} // of a step that is left out: what it needed
	for _, s := range steps {
		var needs []string
		for _, n := range s.Needs {
			if before, gone := instead[n]; gone {
				needs = append(needs, before...)
			} else {
				needs = append(needs, n)
			}
		}
		slices.Sort(needs)
		s.Needs = slices.Compact(needs)
		if slices.Contains(names, s.Name) {
			instead[s.Name] = s.Needs
			continue
		}
		out = append(out, s)
	}
	return out, nil
}

// Change is what a step would change.
type Change struct {
	Step string   `json:"step"`
	What []string `json:"what"`
}

// Plan asks every step what it would change. Nothing is changed.
func Plan(ctx context.Context, host string, steps []Step) ([]Change, error) {
	if err := Validate(steps); err != nil {
		return nil, err
	}
	var out []Change
	var errs []error
	for _, s := range steps {
		look := s.Check
		if s.Look != nil {
			look = s.Look
		}
		what, err := look(ctx)
		if err != nil {
			errs = append(errs, NewProblem(s.Name, err).Fault(host, s.Name))
		}
		if len(what) > 0 {
			out = append(out, Change{s.Name, what})
		}
	}
	return out, errors.Join(errs...)
}
