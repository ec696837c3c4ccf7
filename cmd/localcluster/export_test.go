package localcluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestBlank(t *testing.T) {
	o := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{
			"name": "p", "annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": "word", "kept": "yes"},
			"managedFields": []any{map[string]any{"manager": "x"}},
		},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"initContainers": []any{map[string]any{
			"name": "c", "env": []any{map[string]any{"name": "A", "value": "word"}, map[string]any{"name": "B", "valueFrom": map[string]any{"x": "y"}}},
		}}}}},
	}}
	blank(o)
	text := fmt.Sprint(o.Object)
	if strings.Contains(text, "word") || strings.Contains(text, "manager") {
		t.Errorf("it is still there: %s", text)
	}
	for _, part := range []string{"kept:yes", "name:A", "x:y", "(left out)"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is gone: %s", part, text)
		}
	}
}

func TestLastBytes(t *testing.T) {
	line := strings.Repeat("x", 1<<20-8)
	for _, lines := range []int{1, 7, 9, 40} {
		var l lastBytes
		for i := range lines {
			fmt.Fprintf(&l, "%06d %s\n", i, line)
		}
		got := l.data()
		if len(got) > exportLimit+100 || l.buf.Len() > 3*exportLimit {
			t.Errorf("%d lines: %d bytes", lines, len(got))
		}
		if last := fmt.Sprintf("%06d %s\n", lines-1, line); !bytes.HasSuffix(got, []byte(last)) {
			t.Errorf("%d lines: the last is not there", lines)
		}
		if cut := bytes.HasPrefix(got, []byte("(what was before")); cut != (lines > 8) {
			t.Errorf("%d lines: it says that something is left out: %v", lines, cut)
		}
	}
}

func TestTailOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for _, size := range []int{0, 10, exportLimit + 10} {
		if err := os.WriteFile(file, append(bytes.Repeat([]byte("x"), size), '!'), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := tailOf(file)
		if err != nil || len(got) != min(size+1, exportLimit) || got[len(got)-1] != '!' {
			t.Errorf("of %d bytes it gives %d: %v", size, len(got), err)
		}
	}
}
