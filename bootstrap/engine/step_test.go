package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
)

// recorder collects what steps do and report.
type recorder struct {
	mu     sync.Mutex
	did    []string
	events []engine.Event
}

func (r *recorder) report(e engine.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) last(step string) engine.Event {
	for _, e := range slices.Backward(r.events) {
		if e.Step == step {
			return e
		}
	}
	return engine.Event{}
}

func (r *recorder) step(name string, do func(context.Context) error, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) { return []string{"do " + name}, nil },
		Do: func(ctx context.Context, _ func(string)) error {
			var err error
			if do != nil {
				err = do(ctx)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.did = append(r.did, name)
			return err
		},
	}
}

func TestRunKeepsTheOrderOfNeeds(t *testing.T) {
	r := &recorder{}
	err := engine.Run(t.Context(), "h", []engine.Step{
		r.step("a", nil), r.step("b", nil), r.step("c", nil, "a", "b"), r.step("d", nil, "c"),
	}, r.report)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(r.did[:2]); !slices.Equal(r.did, []string{"a", "b", "c", "d"}) {
		t.Errorf("done in the order %q", r.did)
	}
	if e := r.last("d"); e.State != engine.Done || e.Host != "h" || e.Version != 1 || e.Start.IsZero() {
		t.Errorf("last event %+v", e)
	}
	first := slices.IndexFunc(r.events, func(e engine.Event) bool { return e.Step == "c" })
	if e := r.events[first]; e.State != engine.Started || !slices.Equal(e.Needs, []string{"a", "b"}) {
		t.Errorf("first event of c %+v", e)
	}
}

// TestRunOverlaps holds that steps that do not need each other run at the same time: each waits for the other.
func TestRunOverlaps(t *testing.T) {
	r := &recorder{}
	a, b := make(chan struct{}), make(chan struct{})
	meet := func(mine, other chan struct{}) func(context.Context) error {
		return func(ctx context.Context) error {
			close(mine)
			select {
			case <-other:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if err := engine.Run(t.Context(), "", []engine.Step{r.step("a", meet(a, b)), r.step("b", meet(b, a))}, r.report); err != nil {
		t.Fatal(err)
	}
}

func TestRunLeavesAloneWhatIsThere(t *testing.T) {
	r := &recorder{}
	s := r.step("a", nil)
	s.Check = func(context.Context) ([]string, error) { return nil, nil }
	if err := engine.Run(t.Context(), "", []engine.Step{s}, r.report); err != nil {
		t.Fatal(err)
	}
	if len(r.did) > 0 || r.last("a").State != engine.Unchanged {
		t.Errorf("did %q, event %+v", r.did, r.last("a"))
	}
}

func TestRunFailure(t *testing.T) {
	r := &recorder{}
	var others sync.WaitGroup
	others.Add(2)
	broken := fault.New("some-fault", "do a", errors.New("cause"), "mend it")
	err := engine.Run(t.Context(), "h", []engine.Step{
		r.step("a", func(context.Context) error {
			others.Wait()
			return broken
		}),
		r.step("waits", func(ctx context.Context) error {
			others.Done()
			<-ctx.Done()
			return ctx.Err()
		}),
		r.step("explains", func(ctx context.Context) error {
			others.Done()
			<-ctx.Done()
			return fault.New("other-fault", "wait", context.Cause(ctx), "")
		}),
		r.step("after", nil, "a"),
	}, r.report)
	all := fault.All(err)
	if len(all) != 1 || all[0].ID != "some-fault" || all[0].Host != "h" || all[0].Next != "mend it" {
		t.Errorf("error %v", err)
	}
	if slices.Contains(r.did, "after") {
		t.Error("a step ran though what it needs had failed")
	}
	for _, step := range []string{"waits", "explains"} {
		if e := r.last(step); e.State != engine.Stopped || e.Error != nil {
			t.Errorf("what was only stopped reports %+v", e)
		}
	}
	if e := r.last("a"); e.State != engine.Failed || e.Error == nil || e.Error.Why != "cause" {
		t.Errorf("event %+v", e)
	}
}

func TestRunReportsAllFaultsOfAStep(t *testing.T) {
	r := &recorder{}
	both := errors.Join(fault.New("first", "do a", nil, "x"), fault.New("second", "do b", nil, "y"))
	err := engine.Run(t.Context(), "", []engine.Step{r.step("a", func(context.Context) error { return both })}, r.report)
	if err == nil || !strings.Contains(err.Error(), "do b") {
		t.Errorf("the second fault is lost in %v", err)
	}
}

func TestRunRefusesABadList(t *testing.T) {
	r := &recorder{}
	for what, list := range map[string][]engine.Step{
		"a need below":   {r.step("a", nil, "b"), r.step("b", nil)},
		"a need nowhere": {r.step("a", nil, "z")},
		"a name twice":   {r.step("a", nil), r.step("a", nil)},
		"no name":        {r.step("", nil)},
		"no Do":          {{Name: "a", Check: r.step("a", nil).Check}},
	} {
		if err := engine.Run(t.Context(), "", list, r.report); !errors.Is(err, engine.ErrGraph) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if len(r.did) > 0 {
		t.Errorf("did %q", r.did)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	r := &recorder{}
	ctx, cancel := context.WithCancel(t.Context())
	err := engine.Run(ctx, "", []engine.Step{r.step("a", func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}), r.step("b", nil, "a")}, r.report)
	if err == nil || slices.Contains(r.did, "b") {
		t.Errorf("error %v, did %q", err, r.did)
	}
}

// TestRunOwnContext: a step whose own context ended has failed; that of the run goes on.
func TestRunOwnContext(t *testing.T) {
	r := &recorder{}
	lost := func(context.Context) error { return fmt.Errorf("lost: %w", context.Canceled) }
	err := engine.Run(t.Context(), "h", []engine.Step{r.step("a", lost), r.step("b", nil, "a")}, r.report)
	if all := fault.All(err); len(all) != 1 || all[0].ID != "step-failed" || r.last("a").State != engine.Failed {
		t.Errorf("got %v, and %q of a", err, r.last("a").State)
	}
	if slices.Contains(r.did, "b") {
		t.Error("what needs it was done")
	}
}

// TestWithout: what needed a step that is left out needs what that needed.
func TestWithout(t *testing.T) {
	r := &recorder{}
	all := []engine.Step{r.step("a", nil), r.step("b", nil, "a"), r.step("c", nil, "b"), r.step("d", nil, "c", "a"), r.step("e", nil)}
	left, err := engine.Without(all, []string{"b", "c"})
	if err != nil || len(left) != 3 || left[1].Name != "d" || !slices.Equal(left[1].Needs, []string{"a"}) || left[2].Name != "e" {
		t.Errorf("%v: left %+v", err, left)
	}
	if err := engine.Run(t.Context(), "", left, r.report); err != nil || slices.Contains(r.did, "b") || slices.Contains(r.did, "c") {
		t.Errorf("%v: did %q", err, r.did)
	}
	_, err = engine.Without(all, []string{"a", "x", "y"})
	if all := fault.All(err); len(all) != 1 || all[0].ID != "step-unknown" || !strings.Contains(err.Error(), `["x" "y"]`) {
		t.Errorf("got %v", err)
	}
}

// TestPlanLooks: a plan asks Look where there is one, and does nothing.
func TestPlanLooks(t *testing.T) {
	r := &recorder{}
	s := r.step("a", nil)
	s.Look = func(context.Context) ([]string, error) { return []string{"looked"}, nil }
	got, err := engine.Plan(t.Context(), "h", []engine.Step{s, r.step("b", nil)})
	if err != nil || len(got) != 2 || got[0].What[0] != "looked" || got[1].What[0] != "do b" || len(r.did) > 0 {
		t.Errorf("%v: got %v, did %q", err, got, r.did)
	}
}
