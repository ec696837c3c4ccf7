package engine

import (
	"errors"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/fault"
)

// State is where a step is in its life.
type State string

// The states of a step, in the order in which they can follow each other.
const (
	Started   State = "started"
	Waiting   State = "waiting"   // Message says for what
	Done      State = "done"      // something was changed
	Unchanged State = "unchanged" // everything was there already
	Failed    State = "failed"    // Error says why
	Stopped   State = "stopped"   // because another step failed, or whoever started the run stopped it
)

// Event is what a step reports; one JSON object a line is the format between a host and whoever
// drives it, and what `--output json` prints. Version is 1.
type Event struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"`
	Host    string    `json:"host,omitempty"`
	Step    string    `json:"step"`
	State   State     `json:"state"`
	// Needs, in the first event of a step, are the steps of the same run that had to end before it could start.
	Needs []string `json:"needs,omitempty"`
	// Steps, in the first event of a run, is how many steps the run has.
	Steps int `json:"steps,omitempty"`
	// Start is when the step started; Seconds, set when it has ended, how long it took.
	Start   time.Time `json:"start"`
	Seconds float64   `json:"seconds,omitempty"`
	Message string    `json:"message,omitempty"`
	Error   *Problem  `json:"error,omitempty"`
}

// Problem is a fault as it crosses from a host to whoever drives it.
type Problem struct {
	ID   string `json:"id"`
	Op   string `json:"op"`
	Why  string `json:"why,omitempty"`
	Next string `json:"next,omitempty"`
}

// Report receives events. It is called from several goroutines at once.
type Report func(Event)

// NewProblem turns an error into what can be sent: the first fault in it, and what else it says. An error without
// a fault becomes one with the identifier "step-failed".
func NewProblem(step string, err error) *Problem {
	if all := fault.All(err); len(all) > 0 {
		p := &Problem{ID: all[0].ID, Op: all[0].Op, Next: all[0].Next}
		var why []string
		if all[0].Err != nil {
			why = append(why, all[0].Err.Error())
		}
		for _, f := range all[1:] {
			why = append(why, f.Error())
		}
		p.Why = strings.Join(why, "; ")
		return p
	}
	op := "run step " + step
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &Problem{
			ID: "disk-full", Op: op, Why: err.Error(), Next: "free some space and run the same command again: it goes on where it stopped",
		}
	case errors.Is(err, syscall.EROFS):
		return &Problem{
			ID: "disk-read-only", Op: op, Why: err.Error(),
			Next: "look at the kernel's log why nothing can be written there, mount it for writing, and run the same command again",
		}
	}
	return &Problem{
		ID: "step-failed", Op: op, Why: err.Error(),
		Next: "mend the cause and run the same command again: it goes on where it stopped",
	}
}

// Fault turns a problem of a step back into the error it was made from.
func (p *Problem) Fault(host, step string) *fault.Error {
	f := fault.New(p.ID, p.Op, nil, p.Next)
	if p.Why != "" {
		f.Err = errors.New(p.Why)
	}
	f.Host, f.Step = host, step
	return f
}
