// Package fault is the one error type a user of Slipway can meet.
//
// A fault says what could not be done, on which host, why, and what to do next, and carries a
// stable identifier that scripts and documentation can name. Packages return plain wrapped
// errors inside themselves and a fault at their border. Not in it: printing (cmd does that).
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Error is a failure the user can meet. All fields up to Err but Host are required.
type Error struct {
	ID   string // stable identifier, listed in docs/errors.md, for example "bundle-corrupt"
	Op   string // what could not be done, for example `open bundle "/x"`
	Host string // the machine it happened on; empty for this computer
	Err  error  // why
	Next string // what to do next, an imperative sentence without a full stop
	Step string // the step that failed; empty if it was none, or several
	Log  *Log   // the end of a log that says more; nil if there is none
}

// Log is the end of a log.
type Log struct {
	Of    string   `json:"of"` // who has written it
	Lines []string `json:"lines"`
}

// New makes a fault from its identifier, what could not be done, why, and what to do next.
func New(id, op string, err error, next string) *Error {
	return &Error{ID: id, Op: op, Err: err, Next: next}
}

// Error gives one line without the advice, which cmd prints on a line of its own.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Host != "" {
		fmt.Fprintf(&b, "%s: ", e.Host)
	}
	b.WriteString(e.Op)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// On returns the error with the host it happened on, keeping a host that is already named.
func On(host string, err error) error {
	if err == nil {
		return nil
	}
	var f *Error
	if errors.As(err, &f) {
		if f.Host != "" {
			return err
		}
		c := *f
		c.Host = host
		return &c
	}
	return fmt.Errorf("%s: %w", host, err)
}

// All returns every fault in the tree of err, in order, so that all problems can be shown at once.
func All(err error) []*Error {
	var out []*Error
	var walk func(error)
	walk = func(err error) {
		if err == nil {
			return
		}
		if f, ok := err.(*Error); ok { //nolint:errorlint // the walk visits each node of the tree itself
			out = append(out, f)
			return
		}
		switch u := err.(type) { //nolint:errorlint // as above
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				walk(e)
			}
		case interface{ Unwrap() error }:
			walk(u.Unwrap())
		}
	}
	walk(err)
	return out
}
