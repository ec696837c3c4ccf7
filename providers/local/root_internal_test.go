package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBindSources: what a machine has of its own is made; nothing is made on this computer.
func TestBindSources(t *testing.T) {
	h, here := home(t.TempDir()), t.TempDir()
	err := makeBindSources(h, []Bind{
		{Source: here, Target: "/there"}, {Source: "etcd", Target: "/var/lib/etcd"},
		{Source: filepath.Join(here, "one"), Target: "/one"}, {Source: filepath.Join(here, "two", "three"), Target: "/two"},
	})
	for _, name := range []string{"one", "two"} {
		if err == nil || !strings.Contains(err.Error(), `what is to be at "/`+name+`"`) {
			t.Errorf("%s is not missed: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(here, name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	if st, err := os.Stat(filepath.Join(h.data(), "etcd")); err != nil || !st.IsDir() {
		t.Error(err)
	}
}
