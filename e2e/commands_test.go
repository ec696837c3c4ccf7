package e2e_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// checkCommands runs what only looks.
func checkCommands(t *testing.T, c cluster) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"list", []string{"list"}, c.name},
		{"status", []string{"status", c.name}, "a-worker-2"},
		{"ssh", []string{"ssh", c.name, "a-worker-1", "--", "hostname"}, "a-worker-1"},
		{"logs", []string{"logs", c.name, "a-worker-1", "kubelet"}, "kubelet"},
		{"logs of a static pod", []string{"logs", c.name, "a-cp-1", "etcd"}, "etcd"},
		{"version", []string{"version"}, "1.37"},
		{"bundle", []string{"images", "list"}, "kube-apiserver"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r := slipway(t, tt.args...); !strings.Contains(r.stdout, tt.want) {
				t.Errorf("does not say %q: %v", tt.want, r)
			}
		})
	}
	for _, args := range [][]string{{"list"}, {"status", c.name}, {"version"}, {"images", "list"}} {
		t.Run(strings.Join(args, " ")+" as JSON", func(t *testing.T) {
			r := slipway(t, append(args, "-o", "json")...)
			if !json.Valid([]byte(r.stdout)) {
				t.Errorf("is not JSON: %v", r)
			}
		})
	}
}

// TestREADME runs each command of the README with --help, so that none is there that does not exist.
func TestREADME(t *testing.T) {
	need(t)
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)^\\| `slipway ((?:[a-z]+ ?)+)").FindAllSubmatch(text, -1)
	if len(found) < 10 {
		t.Fatalf("only %d commands found", len(found))
	}
	for _, m := range found {
		args := strings.Fields(string(m[1]))
		t.Run(strings.Join(args, " "), func(t *testing.T) { slipway(t, append(args, "--help")...) })
	}
}
