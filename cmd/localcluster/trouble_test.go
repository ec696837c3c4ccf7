package localcluster

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
)

// TestExplainFull: what did not fit may have been removed again by then, and still it was the disk.
func TestExplainFull(t *testing.T) {
	c := &Cluster{dirs: Dirs{State: t.TempDir()}}
	c.Cluster.Name = "full"
	step := oneStep("machine", func(context.Context, func(string)) error {
		return fault.New("store-clone-failed", "make x", errors.Join(&os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}, nil), "do y")
	})
	err := engine.Run(t.Context(), "one", []engine.Step{step}, func(engine.Event) {})
	var ids []string
	for _, f := range fault.All(c.explain(err)) {
		ids = append(ids, f.ID)
	}
	if len(ids) != 2 || ids[0] != "disk-full" || ids[1] != "store-clone-failed" {
		t.Errorf("the faults are %q", ids)
	}
	if err := errors.New("something else"); c.explain(err) != err { //nolint:errorlint // as it is
		t.Error("an error of another kind is changed")
	}
}
