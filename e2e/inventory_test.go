package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// inventory is everything that a cluster could leave on a computer, by kind.
type inventory map[string][]string

// testClusters are the names that the tests use. A developer's own clusters may run beside them.
func testClusters() []string {
	return []string{
		"a", "ha", "cut", "srv", "mix", "kill", "hasrv", "oci", "ext", "rt", "vip", "grow", "vm", "halt", "halt3", "img", "conf", "pub", "dual",
		"bench", "benchf", "benchk", "snap", "twin", "flt", "flt2",
	}
}

func ofTestCluster(cgroup string) bool {
	return slices.ContainsFunc(testClusters(), func(c string) bool { return strings.Contains(cgroup, ":/slipway/"+c+"/") })
}

// takeInventory lists the network of this test's own namespace in full. Of what all programs of the computer
// share it lists what names Slipway, so that the test can run beside others.
func takeInventory(t *testing.T) inventory {
	t.Helper()
	home := filepath.Dir(os.Getenv(stateVar))
	var names, groups []string
	for _, c := range testClusters() {
		names, groups = append(names, "slipway-"+c+"."), append(groups, "/slipway/"+c+"/")
	}
	return inventory{
		"mounts":     matching(lines(t, "cat", "/proc/self/mountinfo"), append(names, home)...),
		"namespaces": matching(lines(t, "ls", "/run/netns"), names...),
		"links":      lines(t, "ip", "-o", "-br", "link"),
		"addresses":  lines(t, "ip", "-o", "-br", "address"),
		"routes":     lines(t, "ip", "route", "show", "table", "all"),
		"routes 6":   lines(t, "ip", "-6", "route", "show", "table", "all"),
		"rules":      lines(t, "ip", "rule"),
		"neighbours": lines(t, "ip", "neighbour"), // of both families
		"settings 6": lines(t, "sh", "-c", `sysctl -a -r '^net\.ipv6\.conf\.' 2>/dev/null`),
		"nft":        lines(t, "nft", "list", "ruleset"),
		"cgroups":    matching(lines(t, "find", "/sys/fs/cgroup", "-type", "d", "-path", "*/slipway/*", "-printf", "%p/\n"), groups...),
		"processes":  processes(home),
		"files":      lines(t, "find", home, "-not", "-name", "kubeconfig", "-not", "-path", home, "-not", "-path", home+"/state"),
		"parents":    lines(t, "sh", "-c", "ls -d /sys/fs/cgroup/slipway /sys/fs/cgroup/*/slipway 2>/dev/null || true"),
		"run files":  matching(lines(t, "find", "/run", "-path", "*slipway*"), names...),
	}
}

func (before inventory) compare(t *testing.T, after inventory) {
	t.Helper()
	for kind, want := range before {
		got := after[kind]
		for _, line := range got {
			if !slices.Contains(want, line) {
				t.Errorf("%s: left behind: %s", kind, line)
			}
		}
		for _, line := range want {
			if !slices.Contains(got, line) {
				t.Errorf("%s: gone: %s", kind, line)
			}
		}
	}
}

func lines(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil && !bytes.Contains([]byte(args[0]), []byte("find")) { // what find sees may go meanwhile
		t.Fatal(args, err)
	}
	all := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(all)
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

func matching(all []string, parts ...string) []string {
	return slices.DeleteFunc(all, func(line string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(line, p) })
	})
}

// processes are those of the cluster's cgroups and those that were told its directories. A dead
// one that nobody has waited for yet gets a moment.
func processes(home string) []string {
	for range 20 {
		if found := running(home); len(found) == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return running(home)
}

func running(home string) []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		cgroup, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
		if bytes.Contains(stat, []byte(") Z ")) {
			continue
		}
		if ofTestCluster(string(cgroup)) || bytes.Contains(args, []byte(home)) {
			found = append(found, filepath.Base(dir)+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}
