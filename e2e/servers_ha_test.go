package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"slipway.dev/slipway/providers/local"
)

const (
	haWorker     = 4
	haNamespace  = "load"
	haKubeconfig = "/run/load.kubeconfig" // of an administrator, on the worker
	// haLimit is for what takes seconds on a computer with nothing else to do.
	haLimit = 5 * time.Minute
	// haOutage is when the API counts as gone for good.
	haOutage = time.Minute
)

// haServers is a cluster of three control planes and a worker, whose API is in use all the time by programs on the worker.
type haServers struct {
	group
	join         joinCommands
	acknowledged []string // ConfigMaps, under all faults up to now
}

// TestServersHA: control planes fail in turn while programs on the worker, one connected to each of them, write and read
// through its load balancer. What was acknowledged is there afterwards.
func TestServersHA(t *testing.T) {
	need(t)
	before := takeInventory(t)
	h := &haServers{group: launchMachines(t, "hasrv", haWorker)}
	buildWriter(t, h.share)
	h.join = checkInit(t, h.group)
	checkJoin(t, h.group, h.join)
	h.allowWriting(t)

	var table bytes.Buffer
	rows := tabwriter.NewWriter(&table, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(rows, "fault\t longest gap between two successes (s)\t failed requests\t acknowledged writes\t lost")
	for _, f := range []struct {
		prefix, name string
		run          func(*testing.T, *writing)
	}{
		{"power", "power loss of etcd's leader, and its return", h.losePower},
		{"cut", "etcd's leader cut off the network, and its return", h.cutOff},
		{"gone", "machine and disk lost, and replaced", h.replace},
	} {
		if !t.Run(f.prefix, func(t *testing.T) { h.under(t, f.prefix, f.name, f.run, rows) }) {
			h.describe(t)
			break
		}
	}
	rows.Flush()
	t.Logf("\n%s", table.String())
	slipway(t, "down", h.name)
	before.compare(t, takeInventory(t))
}

// allowWriting gives the worker an administrator's kubeconfig whose server is the worker's own load balancer.
func (h *haServers) allowWriting(t *testing.T) {
	t.Helper()
	h.kubectl(t, 1, "create namespace "+haNamespace)
	admin := h.must(t, 1, "cat /etc/kubernetes/admin.conf")
	admin = regexp.MustCompile(`server: \S+`).ReplaceAllString(admin, "server: https://127.0.0.1:6444")
	r := invocation{
		args:  []string{"ssh", h.name, h.machine(haWorker), "--", "install", "-m", "600", "/dev/stdin", haKubeconfig},
		stdin: strings.NewReader(admin),
	}.run(t)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	t.Cleanup(func() { // unless the machine is gone, as it is after a success
		_ = exec.Command(binary(), "ssh", h.name, h.machine(haWorker), "--", "rm", "-f", haKubeconfig).Run()
	})
}

// under has the writer at work before, during and after a fault.
func (h *haServers) under(t *testing.T, prefix, name string, fault func(*testing.T, *writing), rows *tabwriter.Writer) {
	w := h.startWriter(t, haWorker, 3, haKubeconfig, haNamespace, prefix)
	w.goesOn(t)
	fault(t, w)
	w.goesOn(t)
	got := w.end(t)
	h.acknowledged = append(h.acknowledged, got.acknowledged...)
	lost := append(got.lost, h.missing(t)...)
	fmt.Fprintf(rows, "%s\t %.1f\t %d\t %d\t %d\n", name, got.gap.Seconds(), got.failed, len(got.acknowledged), len(lost))
	if len(lost) > 0 {
		t.Errorf("acknowledged and lost: %q", lost)
	}
	if got.gap > haOutage {
		t.Errorf("the API was away for %v", got.gap)
	}
	checkServers(t, h.group, haWorker)
	checkEtcd(t, h.group, 3)
}

// missing are the acknowledged writes that one of the API servers does not know of.
func (h *haServers) missing(t *testing.T) []string {
	t.Helper()
	var lost []string
	for i := 1; i < haWorker; i++ {
		there := map[string]bool{}
		for _, name := range strings.Fields(h.kubectl(t, i, "--server https://127.0.0.1:6443 -n "+haNamespace+" get configmaps -o name")) {
			there[strings.TrimPrefix(name, "configmap/")] = true
		}
		for _, name := range h.acknowledged {
			if !there[name] {
				lost = append(lost, h.machine(i)+": "+name)
			}
		}
	}
	return lost
}

// losePower ends a machine, which has no time to say goodbye to anybody.
func (h *haServers) losePower(t *testing.T, w *writing) {
	victim := h.leader(t)
	h.plug(t, victim, "down") // the kernel would close its connections in good order
	h.kill(t, victim)
	h.balancerSays(t, victim, "down")
	w.goesOn(t)
	since := time.Now()
	h.startAgain(t)
	h.isBack(t, victim, since)
}

func (h *haServers) cutOff(t *testing.T, w *writing) {
	victim := h.leader(t)
	h.plug(t, victim, "down")
	h.balancerSays(t, victim, "down")
	w.goesOn(t)
	since := time.Now()
	h.plug(t, victim, "up")
	h.isBack(t, victim, since)
}

// replace is of a control plane that nobody took out of the cluster: etcd still counts it, and the cluster has its Node.
// It is the first one, whose address is the cluster's endpoint here: another one's is given to join.
func (h *haServers) replace(t *testing.T, w *writing) {
	const victim = 1
	h.plug(t, victim, "down")
	if err := h.provider().Delete(t.Context(), h.name, h.machine(victim)); err != nil {
		t.Fatal(err)
	}
	h.balancerSays(t, victim, "down")
	w.goesOn(t)
	eventually(t, "the cluster knows that the node is gone", haLimit, func() error {
		if ready, err := h.ask(t, "get node "+h.machine(victim)+` -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'`); err != nil || ready == "True" {
			return fmt.Errorf("ready: %q %w", ready, err)
		}
		return nil
	})
	since := time.Now()
	h.startAgain(t)
	h.must(t, victim, "install -m 755 /media/share/slipway /usr/local/bin/slipway")
	if out := h.must(t, victim, "ls -A /var/lib/etcd"); out != "" {
		t.Fatalf("the new disk has data of etcd: %s", out)
	}
	other := "join " + h.address(t, 2) + ":6443 "
	h.must(t, victim, regexp.MustCompile(`join \S+ `).ReplaceAllString(h.join.controlPlane, other))
	h.isBack(t, victim, since)
}

// ask asks the API as the administrator on the worker.
func (h *haServers) ask(t *testing.T, args string) (string, error) {
	t.Helper()
	r := h.on(t, haWorker, "kubectl --kubeconfig "+haKubeconfig+" --request-timeout 5s "+args)
	if r.code != 0 {
		return "", errors.New(r.stderr)
	}
	return r.stdout, nil
}

// leader is the control plane whose member leads etcd.
func (h *haServers) leader(t *testing.T) int {
	t.Helper()
	var members []struct {
		Endpoint string
		Status   struct {
			Header struct {
				MemberID uint64 `json:"member_id"`
			}
			Leader uint64
		}
	}
	out := h.must(t, 1, etcdctl+"endpoint status --cluster -w json")
	if err := json.Unmarshal([]byte(out), &members); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		for i := 1; i < haWorker; i++ {
			if m.Status.Header.MemberID == m.Status.Leader && strings.Contains(m.Endpoint, "//"+h.address(t, i)+":") {
				t.Logf("etcd's leader is on %s", h.machine(i))
				return i
			}
		}
	}
	t.Fatalf("etcd has no leader: %s", out)
	return 0
}

func (g group) address(t *testing.T, i int) string {
	t.Helper()
	var machines []struct{ Address netip.Addr }
	if err := json.Unmarshal([]byte(slipway(t, "machines", "list", g.name, "-o", "json").stdout), &machines); err != nil {
		t.Fatal(err)
	}
	return machines[i-1].Address.String()
}

func (g group) provider() *local.Provider {
	state := os.Getenv(stateVar)
	return local.New(local.Config{
		StateDir: state, RunDir: os.Getenv("SLIPWAY_RUN"), Runc: filepath.Join(state, "clusters", g.name, "runc"),
	})
}

// pid is that of the machine's systemd on this computer.
func (g group) pid(t *testing.T, i int) int {
	t.Helper()
	return g.pidOf(t, g.machine(i))
}

func (g group) pidOf(t *testing.T, name string) int {
	t.Helper()
	machines, err := g.provider().List(t.Context(), g.name)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(machines, func(m *local.Machine) bool { return m.Name() == name })
	if at < 0 || !machines[at].Running() {
		t.Fatalf("%s does not run", name)
	}
	return machines[at].Pid()
}

// plug sets this computer's end of the machine's cable up or down.
func (g group) plug(t *testing.T, i int, state string) {
	t.Helper()
	netns := "/run/netns/slipway-" + g.name + "." + g.machine(i)
	index := regexp.MustCompile(`eth0@if(\d+):`).FindStringSubmatch(lines(t, "nsenter", "--net="+netns, "ip", "-o", "link", "show", "eth0")[0])
	all := strings.Join(lines(t, "ip", "-o", "link"), "\n")
	link := regexp.MustCompile(`(?m)^` + index[1] + `: (\w+)@`).FindStringSubmatch(all)
	if link == nil {
		t.Fatalf("link %s of %s is not among\n%s", index[1], g.machine(i), all)
	}
	lines(t, "ip", "link", "set", link[1], state)
	t.Logf("%s %s: its link is %s", time.Now().Format("15:04:05.000"), g.machine(i), state)
}

// balancerSays waits until the worker's load balancer takes a control plane for up or down.
func (h *haServers) balancerSays(t *testing.T, i int, want string) {
	t.Helper()
	server := h.address(t, i) + ":6443"
	eventually(t, "the load balancer says that "+server+" is "+want, haLimit, func() error {
		last := ""
		for line := range strings.Lines(h.must(t, haWorker, "journalctl -u slipway-balancer -o cat --no-pager")) {
			if f := strings.Fields(line); len(f) > 1 && f[1] == server && (f[0] == "up" || f[0] == "down") {
				last = f[0]
			}
		}
		if last != want {
			return fmt.Errorf("it says %q", last)
		}
		return nil
	})
}

// isBack waits until a control plane serves the API, has a vote in etcd, and is a node that was heard of since.
func (h *haServers) isBack(t *testing.T, i int, since time.Time) {
	t.Helper()
	h.balancerSays(t, i, "up")
	eventually(t, "all members of etcd are healthy", haLimit, func() error {
		members, health := h.on(t, i, etcdctl+"member list"), h.on(t, i, etcdctl+"endpoint health --cluster 2>&1")
		if strings.Count(members.stdout, ", started, ") != 3 || strings.Count(members.stdout, ", false") != 3 ||
			strings.Count(health.stdout, "is healthy") != 3 {
			return fmt.Errorf("%v %v", members, health)
		}
		return nil
	})
	eventually(t, h.machine(i)+" is heard of", haLimit, func() error {
		out, err := h.ask(t, "-n kube-node-lease get lease "+h.machine(i)+" -o 'jsonpath={.spec.renewTime}'")
		if err != nil {
			return err
		}
		if renewed, err := time.Parse(time.RFC3339Nano, out); err != nil || !renewed.After(since) {
			return fmt.Errorf("last at %q %w", out, err)
		}
		return nil
	})
	eventually(t, "all pods are ready", haLimit, func() error {
		out, err := h.ask(t, `get nodes,pods -A -o 'jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'`)
		for line := range strings.Lines(out) {
			if !strings.HasSuffix(strings.TrimSpace(line), "=True") {
				return fmt.Errorf("not ready: %s", line)
			}
		}
		return err
	})
}

// describe says what a failed test is looked into with.
func (h *haServers) describe(t *testing.T) {
	t.Helper()
	t.Log(h.on(t, haWorker, "kubectl --kubeconfig "+haKubeconfig+" get nodes,pods -A -o wide; journalctl -u slipway-balancer -o cat --no-pager | tail -n 40").stdout)
	for i := 1; i < haWorker; i++ {
		t.Log(h.machine(i), h.on(t, i, etcdctl+"member list; "+etcdctl+"endpoint health --cluster 2>&1").stdout)
	}
}
