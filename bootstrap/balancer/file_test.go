package balancer_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"slipway.dev/slipway/bootstrap/balancer"
)

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "servers.json")
	for _, want := range [][]string{{"10.0.0.1:6443"}, {"[fd00::1]:6443", "api.example.com:443"}} {
		if err := balancer.WriteServers(path, want); err != nil {
			t.Fatal(err)
		}
		for _, bad := range [][]string{nil, {"10.0.0.1"}, {":6443"}, {"10.0.0.1:"}} {
			if err := balancer.WriteServers(path, bad); err == nil {
				t.Errorf("%q was written", bad)
			}
		}
		if got, err := balancer.ReadServers(path); err != nil || !slices.Equal(got, want) {
			t.Errorf("read %q, want %q (%v)", got, want, err)
		}
	}
}

func TestFileIsRefused(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"a newer version": `{"v":2,"servers":["10.0.0.1:6443"]}`,
		"no version":      `{"servers":["10.0.0.1:6443"]}`,
		"no server":       `{"v":1,"servers":[]}`,
		"no port":         `{"v":1,"servers":["10.0.0.1"]}`,
		"damage":          `{"v":1,"servers":["10.0.0.1:64`,
	} {
		path := filepath.Join(t.TempDir(), "servers.json")
		write(t, path, []byte(text))
		if got, err := balancer.ReadServers(path); err == nil {
			t.Errorf("%s was read: %q", what, got)
		}
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
