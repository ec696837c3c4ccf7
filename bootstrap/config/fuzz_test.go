package config

import (
	"bytes"
	"testing"

	"go.yaml.in/yaml/v3"
)

// FuzzDecode: whatever a file has, there are either problems, each with a text, or settings that survive being written
// and read again.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		settles[InitConfiguration](t, data, InitKind)
		settles[JoinConfiguration](t, data, JoinKind)
	})
}

func settles[T any](t *testing.T, data []byte, kind string) {
	t.Helper()
	var c T
	if errs := decode(data, kind, &c); errs != nil {
		for _, err := range errs {
			if err.Error() == "" {
				t.Error("a problem has no text")
			}
		}
		return
	}
	text := marshal(t, c)
	if !bytes.Contains(text, []byte("apiVersion: "+APIVersion+"\nkind: "+kind+"\n")) {
		t.Errorf("taken for %s: %q", kind, data)
	}
	var again T
	if errs := decode(text, kind, &again); errs != nil {
		t.Fatalf("%q was read, and cannot be read again: %v", text, errs)
	}
	if second := marshal(t, again); !bytes.Equal(text, second) {
		t.Errorf("%q became %q", text, second)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
