package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// refusal is one way to ask for what cannot be had.
type refusal struct {
	name    string
	id      string // a regular expression for the error's identifier
	says    string // is in the error
	args    []string
	prepare func(*testing.T, *invocation) // makes the trouble, and undoes it with the test
}

func TestBadInput(t *testing.T) {
	need(t)
	writeForeign(t)
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			i := invocation{args: append([]string{"up", "--name", "a", "--egress=false"}, r.args...)}
			if r.prepare != nil {
				r.prepare(t, &i)
			}
			before := takeInventory(t)
			got := i.run(t)
			before.compare(t, takeInventory(t))
			r.check(t, got)
		})
	}
}

func (r refusal) check(t *testing.T, got result) {
	t.Helper()
	if got.code == 0 {
		t.Fatalf("was accepted: %v", got)
	}
	found := regexp.MustCompile(`(?m)^error\[([^\]]+)\]: (.*)$`).FindAllStringSubmatch(got.stderr, -1)
	if len(found) != 1 {
		t.Fatalf("%d errors, want one clear one: %v", len(found), got)
	}
	if !regexp.MustCompile("^(" + r.id + ")$").MatchString(found[0][1]) {
		t.Errorf("error %q, want %q: %v", found[0][1], r.id, got)
	}
	if !strings.Contains(found[0][2], r.says) {
		t.Errorf("the error does not name %q: %v", r.says, got)
	}
	if !strings.Contains(got.stderr, "\n  next: ") {
		t.Errorf("there is no advice: %v", got)
	}
}

func refusals() []refusal {
	return []refusal{
		{name: "not root", id: "not-root", prepare: asNobody},
		{name: "kernel feature missing", id: "kernel-feature-missing", says: "bridge", prepare: withoutBridgeNetfilter},
		{name: "invalid name", id: "name-invalid", says: `"Not_A.Name"`, args: []string{"--name", "Not_A.Name"}},
		{name: "unknown version", id: "unknown-version", says: "1.12", args: []string{"--kubernetes-version", "1.12"}},
		{name: "even number of control planes", id: "option-invalid", says: "odd", args: []string{"--control-planes", "2"}},
		{name: "too few pod addresses", id: "option-invalid", says: "10.244.0.0/27", args: []string{"--pod-cidr", "10.244.0.0/27"}},
		{name: "unknown flag", id: "wrong-call", says: "--frobnicate", args: []string{"--frobnicate"}},
		{name: "bundle missing", id: "bundle-missing", prepare: withoutBundle},
		{name: "bundle corrupt", id: "bundle-corrupt", says: "kube-apiserver", prepare: withFlippedByte},
		{name: "bundle of another architecture", id: "bundle-architecture", says: "s390x", prepare: withOtherArchitecture},
		{name: "disk full", id: "disk-full", prepare: withSmallDisk},
		{name: "subnet in use", id: "subnet-in-use|no-free-subnet", says: "10.", prepare: withBusySubnets},
		{name: "kubeconfig is not YAML", id: "kubeconfig-unreadable", prepare: withKubeconfig("{ not: [yaml")},
		{name: "kubeconfig is a folder", id: "kubeconfig-unreadable", prepare: withFolderAsKubeconfig},
		{name: "kubeconfig is something else", id: "kubeconfig-unreadable", prepare: withKubeconfig("hello\n")},
	}
}

// checkNameTaken asks for the cluster that runs with other settings; it must go on untouched.
func checkNameTaken(t *testing.T, c cluster) {
	before := takeInventory(t)
	got := invocation{args: []string{"up", "--name", c.name, "--workers", "5", "--egress=false"}}.run(t)
	before["processes"] = nil // they come and go in a cluster that runs
	after := takeInventory(t)
	for _, kind := range []string{"namespaces", "links", "rules"} {
		inventory{kind: before[kind]}.compare(t, after)
	}
	refusal{id: "cluster-differs", says: c.name}.check(t, got)
}

// asNobody runs a copy, as the checkout may lie where only root can look.
func asNobody(t *testing.T, i *invocation) {
	dir, err := os.MkdirTemp("", "slipway-e2e-") // t.TempDir is for root alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	i.program = filepath.Join(dir, "slipway")
	if out, err := exec.Command("cp", binary(), i.program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	i.env = []string{"HOME=" + dir, "KUBECONFIG=" + filepath.Join(dir, "kubeconfig")}
	i.wrap = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"}
}

// privately runs slipway in a mount namespace of its own after a script has changed something there.
func privately(i *invocation, script string) {
	i.wrap = []string{"unshare", "--mount", "--propagation=private", "--", "sh", "-ec", script + "\nexec \"$@\"", "sh"}
}

func withoutBridgeNetfilter(_ *testing.T, i *invocation) {
	privately(i, "mount -t tmpfs none /proc/sys/net")
}

func withSmallDisk(t *testing.T, i *invocation) {
	dir := t.TempDir()
	i.env = []string{stateVar + "=" + filepath.Join(dir, "state")}
	privately(i, "mount -t tmpfs -o size=32m none "+dir)
}

// withBusySubnets uses up all private ranges.
func withBusySubnets(t *testing.T, _ *invocation) {
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	run("link", "add", "busy0", "type", "bridge")
	t.Cleanup(func() { run("link", "delete", "busy0") })
	run("link", "set", "busy0", "up")
	for _, address := range []string{"10.0.0.1/8", "172.16.0.1/12", "192.168.0.1/16", "100.64.0.1/10"} {
		run("address", "add", address, "dev", "busy0")
	}
}

func withFolderAsKubeconfig(t *testing.T, i *invocation) {
	i.env = []string{"KUBECONFIG=" + t.TempDir()}
}

func withKubeconfig(content string) func(*testing.T, *invocation) {
	return func(t *testing.T, i *invocation) {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		i.env = []string{"KUBECONFIG=" + path}
		t.Cleanup(func() {
			got, err := os.ReadFile(path)
			if err != nil || string(got) != content {
				t.Errorf("the kubeconfig was overwritten: %q, %v", got, err)
			}
		})
	}
}
