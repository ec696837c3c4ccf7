package fleet_test

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"slices"
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
	return &fleet.Host{Name: spec.Node.Name, Run: func(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer) error {
		cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", logOf + s[spec.Node.Name]}, args...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, stderr
		return cmd.Run()
	}}, nil
}

// logOf answers who asks for the log of a step.
const logOf = `if [ "$2" = log-end ]; then echo '{"of":"etcd","lines":["first","such a '$3'"]}'; exit; fi
`

// saysLog tells whether an error comes with that log.
func saysLog(f *fault.Error, step string) bool {
	return f.Log != nil && f.Log.Of == "etcd" && slices.Equal(f.Log.Lines, []string{"first", "such a " + step})
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
		t.Fatalf("got %v", err)
	}
	if all[0].Step != "a" || !saysLog(all[0], "a") {
		t.Errorf("of step %q, with %v", all[0].Step, all[0].Log)
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
		t.Fatalf("got %v", err)
	}
	if !saysLog(all[0], "b") {
		t.Errorf("with %v", all[0].Log)
	}
}

// TestConvergeTooOld: the program on the host is of another version, and does not know the command.
func TestConvergeTooOld(t *testing.T) {
	_, err := scripts{"n1": `echo 'error[wrong-call]: understand the command: unknown command "converge"' >&2; exit 2`}.converge(t.Context())
	if all := fault.All(err); len(all) != 1 || all[0].ID != "program-too-old" || all[0].Host != "n1" {
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
