package local_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// traces are all kinds of things that machines and networks leave on a computer.
type traces map[string][]string

func takeTraces(t *testing.T, h *host) traces {
	t.Helper()
	return traces{
		"mounts":    mounts(t),
		"netns":     named("slipway-lt-", entries("/run/netns")),
		"links":     lines(t, "ip", "-o", "-br", "link"),
		"addresses": lines(t, "ip", "-o", "-br", "address"),
		"routes":    lines(t, "ip", "route", "show", "table", "all"),
		"routes 6":  lines(t, "ip", "-6", "route", "show", "table", "all"),
		"nft":       lines(t, "nft", "list", "ruleset"),
		"cgroups":   cgroups(t),
		"processes": processes(),
		"settings":  settings(t),
		"files":     find(t, filepath.Dir(h.config.StateDir)),
	}
}

func (before traces) compare(t *testing.T, after traces) {
	t.Helper()
	for kind, want := range before {
		got := after[kind]
		if kind == "settings" && (got == nil || want == nil) {
			continue // machines of others come and go, and with them this computer's settings
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s differ:\nbefore %s\nafter  %s", kind, strings.Join(want, "\n       "), strings.Join(got, "\n       "))
		}
	}
}

func mounts(t *testing.T) []string {
	t.Helper()
	return lines(t, "cat", "/proc/self/mountinfo")
}

func lines(t *testing.T, name string, args ...string) []string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatal(name, args, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func find(t *testing.T, dir string, args ...string) []string {
	t.Helper()
	found := lines(t, "find", append([]string{dir}, args...)...)
	slices.Sort(found)
	return found
}

func entries(dir string) []string {
	var names []string
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// cgroups are those of the tests' clusters, whose names all begin with lt-. The one above them
// counts when it has nobody else's in it.
func cgroups(t *testing.T) []string {
	t.Helper()
	if othersRun() {
		return find(t, "/sys/fs/cgroup", "-type", "d", "-path", "*/slipway/lt-*")
	}
	return find(t, "/sys/fs/cgroup", "-type", "d", "-path", "*/slipway*")
}

// othersRun tells whether this computer has machines of others, such as another package's tests.
func othersRun() bool {
	found, _ := filepath.Glob("/sys/fs/cgroup/*/slipway/*")
	unified, _ := filepath.Glob("/sys/fs/cgroup/slipway/*")
	return slices.ContainsFunc(append(found, unified...), func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.IsDir() && !strings.HasPrefix(filepath.Base(path), "lt-")
	})
}

func named(prefix string, names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) })
}

// processes are those in a cgroup of ours. A dead one is none, even if this computer's PID 1 is
// slow to take note of it.
func processes() []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, path := range all {
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), ":/slipway/lt-") {
			if stat, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "stat")); !bytes.Contains(stat, []byte(") Z ")) {
				found = append(found, string(stat))
			}
		}
	}
	return found
}

func settings(t *testing.T) []string {
	t.Helper()
	if othersRun() {
		return nil
	}
	return lines(t, "sysctl", "fs.inotify", "net.ipv4.ip_forward", "kernel.pid_max", "kernel.panic",
		"kernel.panic_on_oops", "vm.overcommit_memory", "fs.protected_fifos", "fs.protected_regular")
}
