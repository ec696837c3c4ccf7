package treecopy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// endsSoon has ended when it was asked often enough.
type endsSoon struct {
	context.Context //nolint:containedctx // it is one
	left            int
}

func (e *endsSoon) Err() error {
	if e.left--; e.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestEnds wants the end of a context to count before each file, and also inside a large one.
func TestEnds(t *testing.T) {
	from := filepath.Join(t.TempDir(), "from")
	if err := os.Mkdir(from, 0o755); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(from, "large")
	if err := os.WriteFile(large, make([]byte, 2*chunk+1), 0o600); err != nil {
		t.Fatal(err)
	}
	size, err := Copy(&endsSoon{t.Context(), 0}, from, filepath.Join(t.TempDir(), "to"), nil)
	if !errors.Is(err, context.Canceled) || size.Files != 1 { // the directory
		t.Errorf("copy: %+v, %v", size, err)
	}
	in, err := os.Open(large)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "to"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if n, err := copyData(&endsSoon{t.Context(), 2}, in, out); !errors.Is(err, context.Canceled) {
		t.Errorf("copied %d bytes: %v", n, err)
	}
	everything := func(string) bool { return true }
	for asked := range 5 { // of the directory, of the file, and of three chunks
		if _, err := Digest(&endsSoon{t.Context(), asked}, from, everything); !errors.Is(err, context.Canceled) {
			t.Errorf("digest, at %d: %v", asked, err)
		}
	}
}
