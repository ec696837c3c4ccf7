package e2e_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// freezeLimit is what a program in the cluster should not take for an outage.
const freezeLimit = 5 * time.Second

// secretManifest is what only the right keys can read: a Secret, which etcd has encrypted, and a token, which is signed.
const secretManifest = `
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {key: hidden-value}
---
apiVersion: v1
kind: Secret
metadata: {name: token, annotations: {kubernetes.io/service-account.name: default}}
type: kubernetes.io/service-account-token
`

// saving is a cluster of which there are snapshots.
type saving struct {
	growing
	before inventory
	up     time.Duration // that its launch took
	saved  []string      // acknowledged before the snapshot began
}

// TestSnapshot saves a cluster while somebody writes, puts it back after changes, and makes another one of it, top to bottom.
func TestSnapshot(t *testing.T) {
	need(t)
	s := &saving{before: takeInventory(t)}
	begin := time.Now()
	s.growing = growing{cluster: launch(t, "snap", "--workers", "1"), dir: t.TempDir()}
	s.up = time.Since(begin)
	buildWriter(t, s.dir)
	s.startWork(t)
	s.apply(t, secretManifest)
	s.kubectl(t, "create", "namespace", haNamespace)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *saving)
	}{
		{"save", checkSave},
		{"refused", checkSnapshotRefused},
		{"restore", checkRestore},
		{"killed", checkSnapshotKilled},
		{"clone", checkClone},
		{"damaged", checkSnapshotDamaged},
		{"down", checkSnapshotsStay},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, s) }) {
			s.describe(t)
			t.FailNow()
		}
	}
	s.before.compare(t, takeInventory(t))
}

// checkSave saves while a program writes, which must not meet an error, and goes on.
func checkSave(t *testing.T, s *saving) {
	w := s.here(t, "saved", 2*freezeLimit) // a freeze is no failure
	w.goesOn(t)
	s.saved = w.acknowledgedSoFar()
	begin := time.Now()
	r := slipway(t, "snapshot", "save", s.name, "full", "-o", "json")
	took := time.Since(begin)
	logSteps(t, r.stdout)
	w.goesOn(t)
	if all := w.end(t); len(all.lost) > 0 || all.failed > 0 {
		t.Errorf("lost %q, failed %d", all.lost, all.failed)
	}
	listed := snapshots(t)
	if len(listed) != 1 || listed[0].Cluster != s.name || listed[0].Name != "full" || listed[0].Nodes != 2 {
		t.Fatalf("listed: %+v", listed)
	}
	frozen := time.Duration(listed[0].Frozen * float64(time.Second))
	t.Logf("save took %.1f s, frozen for %.2f s, copied %d MiB, linked %d MiB", took.Seconds(), frozen.Seconds(),
		listed[0].Copied>>20, listed[0].Linked>>20)
	if frozen <= 0 || frozen > freezeLimit {
		t.Errorf("frozen for %v, at most %v is wanted", frozen, freezeLimit)
	}
	checkState(t, s.name, "running")
	dir := snapshotDir(s.name, "full")
	for path, mode := range map[string]fs.FileMode{"": 0o700, "snapshot.json": 0o600, "kubeconfig": 0o600, "ssh_key": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v", path, info, err)
		}
	}
}

func (w *writing) acknowledgedSoFar() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		out = append(out, c.acknowledged...)
	}
	return out
}

func snapshotDir(cluster, name string) string {
	return filepath.Join(os.Getenv(stateVar), "snapshots", cluster, name)
}

type listedSnapshot struct {
	Cluster, Name  string
	Nodes          int
	Frozen         float64
	Copied, Linked int64
}

func snapshots(t *testing.T) (out []listedSnapshot) {
	t.Helper()
	if err := json.Unmarshal([]byte(slipway(t, "snapshot", "list", "-o", "json").stdout), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func checkSnapshotRefused(t *testing.T, s *saving) {
	for id, args := range map[string][]string{
		"snapshot-exists":  {"snapshot", "save", s.name, "full"},
		"snapshot-unknown": {"snapshot", "restore", s.name, "other"},
		"cluster-unknown":  {"snapshot", "save", "nobody", "full"},
		"name-invalid":     {"snapshot", "save", s.name, "../x"},
		"wrong-call":       {"up", "--from", "full", "--name", "twin", "--workers", "3"},
	} {
		if r := (invocation{args: args}).run(t); r.code == 0 || !strings.Contains(r.stderr, "error["+id+"]") {
			t.Errorf("want %s: %v", id, r)
		}
	}
	slipwayFails(t, "snapshot-unknown", "up", "--from", "none", "--name", "twin", "--egress=false")
	slipwayFails(t, "snapshot-unknown", "snapshot", "delete", s.name, "none")
	if r := slipway(t, "snapshot", "list", "nobody"); strings.Contains(r.stdout, "full") {
		t.Errorf("of another cluster: %v", r)
	}
}

// change makes everything different from what was saved: objects, files, and the number of nodes.
func (s *saving) change(t *testing.T) {
	t.Helper()
	s.kubectl(t, "delete", "configmap", "kept")
	s.kubectl(t, "delete", "secret", "hidden")
	s.kubectl(t, "delete", "deployment", "deaf")
	s.kubectl(t, "create", "configmap", "later")
	s.kubectl(t, "exec", "diary-0", "--", "sh", "-c", "echo changed >/data/diary")
}

func checkRestore(t *testing.T, s *saving) {
	s.change(t)
	slipway(t, "node", "add", s.name, "--wait", "5m")
	begin := time.Now()
	r := slipway(t, "snapshot", "restore", s.name, "full", "--wait", "5m", "-o", "json")
	t.Logf("restore took %.1f s", time.Since(begin).Seconds())
	logSteps(t, r.stdout)
	s.isAsSaved(t, begin)
	s.hasNodes(t, "snap-cp-1", "snap-worker-1")
	if machines := clusterMachines(t, s.name); len(machines) != 2 {
		t.Errorf("%d machines", len(machines))
	}
	s.kubectl(t, "create", "configmap", "writable")
}

// isAsSaved wants what there was when the snapshot was saved, and nothing later.
func (s *saving) isAsSaved(t *testing.T, since time.Time) {
	t.Helper()
	s.isBack(t, since)
	got := s.kubectl(t, "get", "configmaps", "-A", "-o", "name")
	if strings.Contains(got, "later") {
		t.Error("what was written later is there")
	}
	s.hasSaved(t, s.cluster)
	if got := s.kubectl(t, "get", "secret", "hidden", "-o", "jsonpath={.data.key}"); got != "aGlkZGVuLXZhbHVl" {
		t.Errorf("the secret is %q", got)
	}
	s.diarySays(t, "begin", "begin") // the first pod was not told to end
}

// checkSnapshotKilled kills both commands as soon as something has begun that may not stay so.
func checkSnapshotKilled(t *testing.T, s *saving) {
	for _, step := range []string{"freeze", "digest"} {
		inTime(t, step, func() bool {
			killAt(t, step, "snapshot", "save", s.name, "again", "-o", "json")
			return !s.dropSaved(t, "again")
		})
		if got := snapshots(t); len(got) != 1 {
			t.Errorf("killed at %s: there is %+v", step, got)
		}
	}
	for _, next := range [][]string{{"resume", s.name}, {"snapshot", "save", s.name, "again"}} {
		inTime(t, "copy-disk", func() bool {
			killAt(t, "copy-disk", "snapshot", "save", s.name, "again", "-o", "json")
			return !s.dropSaved(t, "again") && s.is(t, "paused")
		})
		checkState(t, s.name, "paused")
		if halves(t, s.name) == 0 {
			t.Error("nothing is left of a save that was killed while it copied: this tests nothing")
		}
		slipway(t, next...)
		checkState(t, s.name, "running")
		if n := halves(t, s.name); n > 0 {
			t.Errorf("after %q halves of %d snapshots are left", next, n)
		}
	}
	s.interruptSave(t)
	slipway(t, "snapshot", "delete", s.name, "again")

	s.change(t)
	var begin time.Time
	for _, step := range []string{"put-disk", "machine"} {
		inTime(t, step, func() bool {
			killAt(t, step, "snapshot", "restore", s.name, "full", "-o", "json")
			return s.is(t, "restoring")
		})
		checkState(t, s.name, "restoring")
		slipwayFails(t, "cluster-restoring", "start", s.name)
		slipwayFails(t, "cluster-restoring", "up", "--name", s.name, "--workers", "1", "--egress=false")
		begin = time.Now()
		slipway(t, "snapshot", "restore", s.name, "full", "--wait", "5m")
		s.isAsSaved(t, begin)
	}
}

// halves counts what an interrupted command has left of a snapshot.
func halves(t *testing.T, cluster string) int {
	t.Helper()
	left, err := filepath.Glob(snapshotDir(cluster, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(left)
}

// interruptSave sends ^C while the cluster is frozen, and after that: nothing is left of either, and the cluster goes on.
func (s *saving) interruptSave(t *testing.T) {
	t.Helper()
	for _, step := range []string{"freeze", "copy-disk", "digest"} {
		inTime(t, step, func() bool {
			cmd := exec.Command(binary(), "snapshot", "save", s.name, "cut", "-o", "json")
			at, err := stopAt(cmd, func(begun string) bool { return begun == step }, func(string) { _ = cmd.Process.Signal(os.Interrupt) })
			code := cmd.ProcessState.ExitCode()
			if code == 0 && s.dropSaved(t, "cut") {
				return false
			}
			if at != step || code != 130 {
				t.Errorf("^C at %q: exit code %d, %v", at, code, err)
			}
			return true
		})
		checkState(t, s.name, "running")
		if got := snapshots(t); len(got) != 2 || halves(t, s.name) > 0 {
			t.Errorf("^C at %s: there are %+v, and halves of %d", step, got, halves(t, s.name))
		}
	}
}

// checkClone makes another cluster of the snapshot, which runs beside the first.
func checkClone(t *testing.T, s *saving) {
	before := pids(t, s.name)
	begin := time.Now()
	removeAtEnd(t, "twin")
	r := slipway(t, "up", "--from", "full", "--name", "twin", "--egress=false", "--wait", "5m", "-o", "json")
	took := time.Since(begin)
	t.Logf("up --from took %.1f s, up %.1f s: %.2f of that", took.Seconds(), s.up.Seconds(), took.Seconds()/s.up.Seconds())
	logSteps(t, r.stdout)
	twin := *s
	twin.cluster = cluster{name: "twin"}
	twin.isAsSaved(t, begin)
	twin.hasNodes(t, "snap-cp-1", "snap-worker-1")
	checkServersOf(t, twin.cluster)
	if after := pids(t, s.name); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the machines of the first: before %v, after %v", before, after)
	}
	s.apart(t, twin)
	begin = time.Now()
	slipway(t, "up", "--from", "full", "--name", "twin", "--egress=false")
	t.Logf("again took %.1f s", time.Since(begin).Seconds())
	slipwayFails(t, "cluster-differs", "up", "--from", "other", "--name", "twin", "--egress=false")
	slipway(t, "restart", "twin") // with what it has of its own
	twin.kubectl(t, "get", "configmap", "mine")
	slipway(t, "down", "twin")
	s.killClone(t)
	slipway(t, "up", "--from", "full", "--name", "twin", "--egress=false", "--wait", "5m")
	twin.kubectl(t, "get", "configmap", "kept")
	checkServersOf(t, twin.cluster)
	slipway(t, "down", "twin")
	if got := s.kubectl(t, "get", "--raw", "/readyz"); got != "ok" {
		t.Errorf("without its twin: %q", got)
	}
}

// killClone kills a launch when the other cluster's data are to be changed. Until then nobody may delete the snapshot.
func (s *saving) killClone(t *testing.T) {
	t.Helper()
	cmd := exec.Command(binary(), "up", "--from", "snap/full", "--name", "twin", "--egress=false", "-o", "json")
	at, err := stopAt(cmd, func(begun string) bool { return begun == "copied-data" }, func(string) {
		slipwayFails(t, "snapshot-busy", "snapshot", "delete", s.name, "full")
		_ = cmd.Process.Kill()
	})
	if at == "" {
		t.Errorf("the launch was not killed: %v", err)
	}
}

// checkSnapshotDamaged changes a byte of what is not only a link.
func checkSnapshotDamaged(t *testing.T, s *saving) {
	before := pids(t, s.name)
	file := filepath.Join(snapshotDir(s.name, "full"), "machines", "snap-cp-1", "data", "etcd", "member", "snap", "db")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	flip := func() {
		if _, err := f.ReadAt(b, 5000); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b, 5000); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	slipwayFails(t, "snapshot-damaged", "snapshot", "restore", s.name, "full")
	slipwayFails(t, "snapshot-damaged", "up", "--from", s.name+"/full", "--name", "twin", "--egress=false")
	if after := pids(t, s.name); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("machines: before %v, after %v", before, after)
	}
	flip()
	f.Close()
}

// checkSnapshotsStay removes the cluster, brings it back, and removes all.
func checkSnapshotsStay(t *testing.T, s *saving) {
	slipway(t, "stop", s.name)
	slipway(t, "snapshot", "save", s.name, "asleep")
	checkState(t, s.name, "stopped")
	if r := (invocation{args: []string{"down", s.name}}).run(t); r.code != 0 || !strings.Contains(r.stderr, "its snapshots stay: 2") {
		t.Errorf("%v", r)
	}
	left := takeInventory(t)
	left["files"] = slices.DeleteFunc(left["files"], func(f string) bool { return strings.Contains(f, "/state/snapshots") })
	s.before.compare(t, left)
	begin := time.Now()
	slipway(t, "snapshot", "restore", s.name, "asleep", "--wait", "5m")
	s.isBack(t, begin)
	s.diarySays(t, "begin", "begin", "end", "begin")
	slipway(t, "snapshot", "delete", s.name, "asleep")
	slipway(t, "down", s.name)
	slipway(t, "snapshot", "delete", s.name, "full")
	if got := snapshots(t); len(got) != 0 {
		t.Errorf("listed: %+v", got)
	}
}
