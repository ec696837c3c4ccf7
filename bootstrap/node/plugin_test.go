package node_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/node"
)

// TestHoldNetwork wants that a machine keeps its network whose plugin still has a valid token.
func TestHoldNetwork(t *testing.T) {
	const config, staged = "10-calico.conflist", "10-calico.conflist.staged"
	for name, tt := range map[string]struct {
		age  time.Duration
		have []string
		want []string
	}{
		"short":      {time.Hour, []string{config, "calico-kubeconfig"}, []string{config, "calico-kubeconfig"}},
		"long":       {25 * time.Hour, []string{config, "calico-kubeconfig"}, []string{staged, "calico-kubeconfig"}},
		"held back":  {25 * time.Hour, []string{staged, "calico-kubeconfig"}, []string{staged, "calico-kubeconfig"}},
		"no network": {25 * time.Hour, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			upper := t.TempDir()
			dir := filepath.Join(upper, "etc/cni/net.d")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			when := time.Now().Add(-tt.age)
			for _, file := range tt.have {
				path := filepath.Join(dir, file)
				if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, when, when); err != nil {
					t.Fatal(err)
				}
			}
			if err := node.HoldNetwork(upper); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(dir)
			var got []string
			for _, e := range entries {
				got = append(got, e.Name())
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("has %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}
