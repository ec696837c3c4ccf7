package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// failsWithin is, for `up --wait`, by when a component that cannot start has been started, has failed and has said why, also on a slow
// computer. All of it is waited for.
const failsWithin = "40s"

// wantLogEnd wants an error to come with the end of that log, and what is in it.
func wantLogEnd(t *testing.T, r result, of, line string) {
	t.Helper()
	_, after, ok := strings.Cut(r.stderr, "  the end of what "+of+" has logged:\n")
	log, _, _ := strings.Cut(after, "\n  next: ")
	if !ok || !strings.Contains(log, line) {
		t.Errorf("%q of %s is not shown: %v", line, of, r)
	}
	if strings.Contains(r.stderr, "error[api-not-ready]") && !strings.Contains(r.stderr, "\n  step: api\n") {
		t.Errorf("the step is not named: %v", r)
	}
}

// checkSpoiledEtcd launches a cluster whose etcd cannot start, from a file with config: what waits is the API server, and etcd's own log says why.
func checkSpoiledEtcd(t *testing.T, path, config string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	launching, ended := context.WithCancel(t.Context())
	defer ended()
	spoiled := spoilEtcd(launching, "conf", "conf-cp-1")
	r := invocation{args: []string{"up", "--config", path, "--wait", failsWithin}}.run(t)
	ended()
	if err := <-spoiled; err != nil || r.code != 1 {
		t.Errorf("an etcd that cannot start: %v, %v", err, r)
	}
	wantLogEnd(t, r, "etcd (pod etcd-conf-cp-1)", "cannot access member directory")
}

// spoilEtcd puts a file where etcd's member is going to be, as soon as there is a machine, and gives up when ctx ends.
func spoilEtcd(ctx context.Context, cluster, node string) <-chan error {
	dir := filepath.Join(os.Getenv(stateVar), "clusters", cluster, "machines", node, "data", "etcd")
	done := make(chan error, 1)
	go func() {
		for tick := time.Tick(5 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				done <- ctx.Err()
				return
			case <-tick:
			}
			if _, err := os.Stat(dir); err == nil {
				done <- os.WriteFile(filepath.Join(dir, "member"), nil, 0o600)
				return
			}
		}
	}()
	return done
}
