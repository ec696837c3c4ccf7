package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/testenv"
	"slipway.dev/slipway/internal/testenv/testregistry"
)

// registryTest is a registry in the group's network, with a certificate of an authority that nobody knows and a password.
type registryTest struct {
	group
	registry *testregistry.Registry
	ref      string // by tag
	byDigest string
	trust    string // the flag
}

// TestServersRegistry makes a cluster from a bundle that is in a registry, and takes it apart again: nothing of what was
// downloaded stays.
func TestServersRegistry(t *testing.T) {
	need(t)
	before := takeInventory(t)
	r := registryTest{group: launchMachines(t, "oci", 2)}
	var hosts [3][]string
	for i := 1; i <= 2; i++ {
		hosts[i] = r.inventory(t, i)
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"push", func(_ *testing.T) { r.push(t) }}, // the registry runs until the whole test ends
		{"refused", func(t *testing.T) { r.refused(t, hosts[1]) }},
		{"dry run", func(t *testing.T) { r.dryRun(t, hosts[1]) }},
		{"interrupted", r.interrupted},
		{"init", r.init},
		{"join", r.join},
		{"reset", func(t *testing.T) { r.reset(t, hosts) }},
		{"prepare", func(t *testing.T) { r.prepare(t, hosts[2]) }},
	} {
		if !t.Run(step.name, step.run) {
			t.FailNow()
		}
	}
	slipway(t, "down", r.name)
	t.Run("machines", r.machines)
	r.registry.Stop()
	before.compare(t, takeInventory(t))
}

const registryConfig = "/root/.docker/config.json"

func (r *registryTest) push(t *testing.T) {
	gateway := r.gateway(t)
	r.registry = testregistry.Start(t, testregistry.Options{IP: gateway, TLS: true, User: "amy", Password: "secret"})
	r.ref = "oci://" + r.registry.Addr + "/slipway/bundle:test"
	copyFile(t, r.registry.CA, filepath.Join(r.share, "ca.crt"))
	r.trust = " --registry-ca /media/share/ca.crt"
	auth := base64.StdEncoding.EncodeToString([]byte("amy:secret"))
	login, err := json.Marshal(map[string]any{"auths": map[string]any{r.registry.Addr: map[string]string{"auth": auth}}})
	if err != nil {
		t.Fatal(err)
	}
	config := t.TempDir()
	for _, file := range []string{filepath.Join(config, "config.json"), filepath.Join(r.share, "config.json")} {
		if err := os.WriteFile(file, login, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := invocation{
		args: []string{"images", "push", "--bundle", string(testenv.NeedBundle(t)), "--registry-ca", r.registry.CA, r.ref},
		env:  []string{"DOCKER_CONFIG=" + config},
	}.run(t)
	if p.code != 0 {
		t.Fatal(p)
	}
	t.Log(p.stderr)
	r.byDigest = strings.TrimSpace(p.stdout)
}

// gateway is the address of this computer in the machines' network.
func (r *registryTest) gateway(t *testing.T) string {
	t.Helper()
	var machines []struct{ Address netip.Addr }
	if err := json.Unmarshal([]byte(slipway(t, "machines", "list", r.name, "-o", "json").stdout), &machines); err != nil {
		t.Fatal(err)
	}
	return machines[0].Address.Prev().String()
}

// refused: what cannot be trusted, may not be had or is not there is found out before anything is written.
func (r *registryTest) refused(t *testing.T, host []string) {
	const command = "slipway init --bundle "
	r.fails(t, 1, command+r.ref, "registry-untrusted")
	r.fails(t, 1, command+r.ref+r.trust, "registry-denied")
	for i := 1; i <= 2; i++ {
		r.must(t, i, "mkdir -p /root/.docker && install -m 600 /media/share/config.json "+registryConfig)
	}
	r.fails(t, 1, command+r.ref+"-none"+r.trust, "bundle-missing")
	r.fails(t, 1, command+regexp.MustCompile(`[0-9a-f]{64}$`).ReplaceAllString(r.byDigest, strings.Repeat("0", 64))+r.trust, "bundle-missing")
	r.fails(t, 1, command+strings.TrimPrefix(r.ref, "oci://"), "bundle-missing") // a path
	r.fails(t, 1, command+strings.TrimSuffix(r.ref, ":test"), "option-invalid")
	// Plain HTTP to another host, only if the administrator wants that.
	plain := testregistry.Start(t, testregistry.Options{IP: r.gateway(t)})
	ref := "oci://" + plain.Addr + "/slipway/bundle:test"
	r.fails(t, 1, command+ref, "registry-untrusted")
	r.fails(t, 1, command+ref+" --registry-plain-http", "bundle-missing")
	plain.Stop()
	r.fails(t, 1, command+ref+" --registry-plain-http", "registry-unreachable")
	r.sameHost(t, 1, host)
}

// initCommand is the one, with the bundle by its tag.
func (r *registryTest) initCommand() string {
	return "slipway init --upload-certs --bundle " + r.ref + r.trust
}

// dryRun: nothing large is fetched for it, and nothing stays.
func (r *registryTest) dryRun(t *testing.T, host []string) {
	received := func() (n int) {
		if _, err := fmt.Sscan(r.must(t, 1, "cat /sys/class/net/[!l]*/statistics/rx_bytes"), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := received()
	out := r.must(t, 1, r.initCommand()+" --dry-run")
	for _, want := range []string{"pull-bundle", "download " + r.byDigest, "/etc/kubernetes/pki/ca.key", "apply calico"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not say %q:\n%s", want, out)
		}
	}
	if got := received() - before; got < 10<<10 || got > 2<<20 {
		t.Errorf("%d bytes were received", got)
	}
	if out := r.must(t, 1, "ls /tmp"); strings.Contains(out, "slipway-bundle") {
		t.Errorf("left behind: %s", out)
	}
	r.sameHost(t, 1, host)
}

const pulledBlobs = "/var/lib/slipway/bundles/sha256-*/blobs/sha256/"

// interrupted: in the middle of the download. What it has begun can be taken back, or gone on with, by nobody else.
func (r *registryTest) interrupted(t *testing.T) {
	p := r.on(t, 1, r.initCommand()+` & pid=$!
		until [ "$(ls `+pulledBlobs+` 2>/dev/null | grep -vc partial)" -ge 30 ]; do kill -0 $pid || exit 1; sleep 0.02; done
		kill -TERM $pid; wait $pid`)
	if p.code != 130 {
		t.Fatalf("exit code %d: %v", p.code, p)
	}
	if out := r.must(t, 1, "ls -d /var/lib/slipway/bundles/*/index.json /etc/kubernetes/pki 2>/dev/null || true"); out != "" {
		t.Errorf("there is already %s", out)
	}
	r.fails(t, 1, "slipway init --upload-certs --bundle /media/bundle", "settings-differ")
	r.fails(t, 1, strings.Replace(r.initCommand(), ":test", ":other", 1), "settings-differ")
}

// init: the same command goes on with the same bundle, although the tag is not there any more.
func (r *registryTest) init(t *testing.T) {
	tag := filepath.Join(r.registry.Data, "docker/registry/v2/repositories/slipway/bundle/_manifests/tags/test")
	if err := os.RemoveAll(tag); err != nil {
		t.Fatal(err)
	}
	const whole = "ls -i " + pulledBlobs + " | grep -v partial"
	before := strings.Split(strings.TrimSpace(r.must(t, 1, whole)), "\n")
	p := r.on(t, 1, r.initCommand())
	if p.code != 0 {
		t.Fatal(p)
	}
	t.Log(p.stderr)
	after := r.must(t, 1, whole)
	for _, blob := range before {
		if !strings.Contains(after, strings.TrimSpace(blob)) {
			t.Errorf("%s was fetched again", blob)
		}
	}
	checkServers(t, r.group, 1)
	if state := r.must(t, 1, "cat /var/lib/slipway/node.json"); !strings.Contains(state, r.byDigest) {
		t.Errorf("what the server keeps of itself does not say where the bundle came from: %s", state)
	}
	// The root file system of machines is of no use here.
	bundle := string(testenv.NeedBundle(t))
	rootfs := filepath.Base(layerOf(t, bundle, "machine-rootfs"))
	r.must(t, 1, "ls "+pulledBlobs+filepath.Base(layerOf(t, bundle, "kubelet"))+" && ! ls "+pulledBlobs+rootfs)
	if out := r.must(t, 1, r.initCommand()); !strings.Contains(out, "nothing was changed") {
		t.Errorf("it says %q", out)
	}
}

// join takes the same from a file.
func (r *registryTest) join(t *testing.T) {
	command := strings.Fields(r.must(t, 1, "slipway token create --print-join-command"))
	config := fmt.Sprintf("apiVersion: slipway.dev/v1alpha1\nkind: JoinConfiguration\nbundle: %s\nregistryCA: /media/share/ca.crt\n", r.byDigest)
	r.must(t, 2, fmt.Sprintf("umask 077; echo '%s' > /root/join.yaml; %s --config /root/join.yaml; rm /root/join.yaml",
		config, strings.Join(command, " ")))
	checkServers(t, r.group, 2)
}

// reset does not need the bundle, nor does a node.
func (r *registryTest) reset(t *testing.T, hosts [3][]string) {
	r.must(t, 2, "rm -r /var/lib/slipway/bundles && slipway doctor && slipway reset")
	r.must(t, 1, "slipway reset")
	r.sameHost(t, 2, hosts[2])
	r.sameHost(t, 1, hosts[1], auditLog)
}

// machines: those of this computer are made from a bundle in a registry, too. On loopback that needs no TLS.
func (r *registryTest) machines(t *testing.T) {
	reg := testregistry.Start(t, testregistry.Options{Data: r.registry.Data})
	repository, digest, _ := strings.Cut(strings.Replace(r.byDigest, r.registry.Addr, reg.Addr, 1), "@")
	pulled := filepath.Join(filepath.Dir(string(testenv.NeedBundle(t))), strings.Replace(digest, ":", "-", 1))
	if _, err := os.Stat(pulled); err == nil {
		t.Fatalf("%q is there already", pulled)
	}
	t.Cleanup(func() { os.RemoveAll(pulled) })
	t.Cleanup(func() { exec.Command(binary(), "down", r.name).Run() })
	args := []string{"machines", "up", "--name", r.name, "--egress=false", "--bundle", repository + "@" + digest}
	slipway(t, args...)
	reg.Stop() // a second time nobody is asked
	slipway(t, args...)
	slipway(t, "ssh", r.name, r.machine(1), "--", "true")
	slipway(t, "images", "verify", "--bundle", repository+"@"+digest)
	slipway(t, "down", r.name)
}

// prepare has no state of its own: what it has downloaded goes by the journal alone. What was there before stays.
func (r *registryTest) prepare(t *testing.T, host []string) {
	r.must(t, 2, "slipway prepare --bundle "+r.byDigest+r.trust)
	r.must(t, 2, "ls /usr/local/bin/kubeadm "+pulledBlobs+" && slipway reset")
	r.sameHost(t, 2, host)
	r.must(t, 2, "mkdir -p /var/lib/slipway/bundles/mine && echo mine > /var/lib/slipway/bundles/mine/notes")
	with := r.inventory(t, 2)
	r.must(t, 2, "slipway prepare --bundle "+r.byDigest+r.trust+" && slipway reset")
	r.sameHost(t, 2, with)
	r.must(t, 2, "rm -r /var/lib/slipway")
}
