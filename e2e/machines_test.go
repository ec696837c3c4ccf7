package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"slipway.dev/slipway/internal/testenv"
)

// group is servers with nothing on them: machines of the local provider. They are counted from 1.
type group struct {
	name  string
	count int
	share string // a directory that they see as /media/share
	flags []string
	// virtual are servers of the group that are virtual machines instead.
	virtual map[int]*virtualMachine
}

// launchMachines makes servers that are removed at the end of the test. They see the bundle at /media/bundle, and slipway
// lies where an administrator would put it.
func launchMachines(t testing.TB, name string, count int) group {
	t.Helper()
	bundle := string(testenv.NeedBundle(t))
	g := group{name: name, count: count, share: t.TempDir()}
	copyFile(t, binary(), filepath.Join(g.share, "slipway"))
	copyFile(t, "testdata/inventory.sh", filepath.Join(g.share, "inventory.sh"))
	t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(os.Getenv(stateVar), "clusters", name)); err == nil {
			if out, err := exec.Command(binary(), "down", name).CombinedOutput(); err != nil {
				t.Errorf("remove machines %q: %v\n%s", name, err, out)
			}
		}
	})
	g.flags = []string{"--name", name, "--count", fmt.Sprint(count), "--egress=false",
		"--share", g.share + ":/media/share", "--share", bundle + ":/media/bundle"}
	g.startAgain(t)
	for i := range count {
		g.must(t, i+1, "install -m 755 /media/share/slipway /usr/local/bin/slipway")
	}
	return g
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

func (g group) machine(i int) string { return fmt.Sprintf("%s-%d", g.name, i) }

// on runs a script on a server, as an administrator who is logged in there.
func (g group) on(t testing.TB, i int, script string) result {
	t.Helper()
	if v := g.virtual[i]; v != nil {
		return v.run(t, script)
	}
	return invocation{args: []string{"ssh", g.name, g.machine(i), "--", "sh", "-c", script}}.run(t)
}

// must gives what the script printed.
func (g group) must(t testing.TB, i int, script string) string {
	t.Helper()
	r := g.on(t, i, script)
	if r.code != 0 {
		t.Fatalf("on %s: exit code %d of %v", g.machine(i), r.code, r)
	}
	return r.stdout
}

// kubectl asks as the administrator of a control plane.
func (g group) kubectl(t *testing.T, i int, args string) string {
	t.Helper()
	return g.must(t, i, "kubectl --kubeconfig /etc/kubernetes/admin.conf "+args)
}

// together runs a script on each of several servers at the same moment, and gives what the one printed that was last to end.
func (g group) together(t testing.TB, scripts map[int]string) (last string) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	results := make([]result, g.count+1)
	for i, script := range scripts {
		all.Go(func() {
			r := g.on(t, i, script)
			mu.Lock()
			defer mu.Unlock()
			results[i], last = r, r.stdout
		})
	}
	all.Wait()
	for i := range scripts {
		if r := results[i]; r.code != 0 {
			t.Errorf("on %s: exit code %d of %v", g.machine(i), r.code, r)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return last
}

// inventory is everything on a server that a node could change.
func (g group) inventory(t *testing.T, i int) []string {
	t.Helper()
	all := strings.Split(g.must(t, i, "sh /media/share/inventory.sh"), "\n")
	if len(all) < 1000 {
		t.Fatalf("the inventory of %s has %d lines only", g.machine(i), len(all))
	}
	return all
}

// sameHost compares a server with what it was, but for what is named.
func (g group) sameHost(t *testing.T, i int, before []string, but ...string) {
	t.Helper()
	after := g.inventory(t, i)
	differ := func(what string, these, others []string) {
		known := map[string]bool{}
		for _, line := range others {
			known[line] = true
		}
		for _, line := range these {
			if !known[line] && !slices.ContainsFunc(but, func(b string) bool { return strings.Contains(line, b) }) {
				t.Errorf("%s: %s: %s", g.machine(i), what, line)
			}
		}
	}
	differ("left behind", after, before)
	differ("gone", before, after)
}
