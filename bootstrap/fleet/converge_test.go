package fleet_test

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/internal/fault"
)

// scripts are hosts that run a shell script instead of Slipway.
type scripts map[string]string

func (s scripts) ready(_ context.Context, spec *bootstrap.NodeSpec) (*fleet.Host, error) {
	return &fleet.Host{Name: spec.Node.Name, Run: func(ctx context.Context, _ []string, in io.Reader, out, stderr io.Writer) error {
		cmd := exec.CommandContext(ctx, "sh", "-c", s[spec.Node.Name])
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, stderr
		return cmd.Run()
	}}, nil
}

func (s scripts) converge(ctx context.Context) ([]engine.Event, error) {
	var specs []*bootstrap.NodeSpec
	for name := range s {
		specs = append(specs, &bootstrap.NodeSpec{Version: 1, Node: bootstrap.Node{Name: name}})
	}
	var mu sync.Mutex
	var events []engine.Event
	err := fleet.Converge(ctx, specs, s.ready, func(e engine.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	})
	return events, err
}

const failing = `echo '{"v":1,"step":"a","state":"failed","error":{"id":"bad-thing","op":"do a","why":"cause","next":"mend it"}}'; exit 1`

func TestConvergeRelaysEvents(t *testing.T) {
	events, err := scripts{"n1": `cat >/dev/null; echo no event; echo '{"v":1,"step":"a","state":"done","seconds":2}'`}.converge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 1 || events[0].Host != "n1" || events[0].Step != "a" || events[0].Seconds != 2 {
		t.Errorf("events %+v", events)
	}
}

func TestConvergeGivesTheSpecification(t *testing.T) {
	_, err := scripts{"n1": `grep -q '"name":"n1"' || exit 3`}.converge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
}

// TestConvergeFailure: one host fails, the other would run for minutes and is stopped.
func TestConvergeFailure(t *testing.T) {
	_, err := scripts{"n1": failing, "n2": "exec sleep 300"}.converge(t.Context())
	all := fault.All(err)
	if len(all) != 1 || all[0].ID != "bad-thing" || all[0].Host != "n1" || all[0].Next != "mend it" {
		t.Errorf("got %v", err)
	}
}

func TestConvergeFailureWithoutAWord(t *testing.T) {
	_, err := scripts{"n1": "echo panic: such and such >&2; exit 2"}.converge(t.Context())
	all := fault.All(err)
	if len(all) != 1 || all[0].ID != "converge-failed" || !strings.Contains(err.Error(), "such and such") {
		t.Errorf("got %v", err)
	}
}

// TestConvergeTimeIsUp: the error says what was still waited for.
func TestConvergeTimeIsUp(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("time is up")
	s := scripts{"n1": `echo '{"v":1,"step":"a","state":"done"}'
echo '{"v":1,"step":"b","state":"waiting","message":"pod x is not ready"}'; exec sleep 300`}
	timer := time.AfterFunc(300*time.Millisecond, func() { cancel(late) })
	defer timer.Stop()
	_, err := s.converge(ctx)
	all := fault.All(err)
	if len(all) != 1 || all[0].ID != "converge-stopped" || !strings.Contains(err.Error(), "b (pod x is not ready)") ||
		strings.Contains(err.Error(), "at a") {
		t.Errorf("got %v", err)
	}
}

func TestConvergeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := scripts{"n1": "exec sleep 300"}.converge(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
