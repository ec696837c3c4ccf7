package engine_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
)

func TestProblemNamesTheDisk(t *testing.T) {
	on := func(no syscall.Errno) error {
		return fmt.Errorf("check: %w", &fs.PathError{Op: "write", Path: "/etc/x", Err: no})
	}
	for want, err := range map[string]error{
		"disk-full": on(syscall.ENOSPC), "disk-read-only": on(syscall.EROFS), "step-failed": on(syscall.EIO),
		"known": fault.New("known", "x", on(syscall.ENOSPC), "y"),
	} {
		p := engine.NewProblem("binaries", err)
		if p.ID != want || p.Next == "" || p.Why == "" {
			t.Errorf("%v: %+v, want %q", err, p, want)
		}
	}
	if p := engine.NewProblem("binaries", errors.Join(on(syscall.EIO), on(syscall.EDQUOT))); p.ID != "disk-full" {
		t.Errorf("%+v", p)
	}
}
