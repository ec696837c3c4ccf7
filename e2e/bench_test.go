package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/testenv"
)

// BenchmarkServers compares slipway with the kubeadm of the same bundle, on the same machines, taking turns: what else the
// computer does hits both. Each round is one iteration; medians count. docs/bench-servers.md says how to read it.
func BenchmarkServers(b *testing.B) {
	need(b)
	s := &servers{group: launchMachines(b, "bench", 6), report: &benchReport{}}
	s.writeTheirs(b)
	b.Run("init", s.benchInit)
	s.must(b, 1, initCommand)
	s.readJoin(b)
	b.Run("worker", func(b *testing.B) { s.benchJoin(b, 2, "a worker", s.worker) })
	b.Run("controlplane", func(b *testing.B) { s.benchJoin(b, 3, "a control plane", s.controlPlane) })
	b.Run("together", s.benchTogether)
	s.report.print(b)
}

const (
	prepareCommand = "slipway prepare --bundle /media/bundle"
	fromBundle     = " --bundle /media/bundle -o json"
	kubeadmReset   = "kubeadm reset --force >/dev/null 2>&1; slipway reset"

	// readyScript ends when all is ready that slipway waits for by itself. One pod of CoreDNS is enough, as kubeadm starts two.
	readyScript = `export KUBECONFIG=/etc/kubernetes/admin.conf
		kubectl wait --timeout=LIMIT --for=condition=Ready node --all &&
		kubectl -n kube-system wait --timeout=LIMIT --for=jsonpath='{.status.numberReady}'=1 daemonset calico-node &&
		kubectl -n kube-system wait --timeout=LIMIT --for=condition=Available deployment calico-kube-controllers coredns`
	kubeadmInit = "kubeadm init --config /media/share/kubeadm.yaml --upload-certs" + kubeadmFlags +
		" && kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f /media/share/calico.yaml && "
	// The Node may not be there yet, at which kubectl gives up.
	nodeReadyScript = ` && export KUBECONFIG=/etc/kubernetes/kubelet.conf &&
		timeout 300 sh -c 'until kubectl wait --timeout=5m --for=condition=Ready node $(hostname); do sleep 0.1; done'`
)

// sharedKubelet gives kubeadm's kubelet what slipway's has on these machines, which share a disk with others.
const sharedKubelet = `failSwapOn: false
syncFrequency: 10s
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
resolvConf: /media/share/resolv.conf`

// servers are machines that a benchmark makes nodes of, again and again.
type servers struct {
	group
	worker, controlPlane string // what to join with: ENDPOINT --token ...
	report               *benchReport
}

// writeTheirs writes what kubeadm is told, and the same Calico as slipway's.
func (s *servers) writeTheirs(b *testing.B) {
	if err := testenv.NeedBundle(b).Extract("calico-manifests", s.share); err != nil {
		b.Fatal(err)
	}
	var images []struct{ Component, Ref string }
	if err := json.Unmarshal([]byte(slipway(b, "images", "list", "-o", "json").stdout), &images); err != nil {
		b.Fatal(err)
	}
	tags := map[string]string{}
	for _, i := range images {
		tags[i.Component] = i.Ref[strings.LastIndex(i.Ref, ":")+1:]
	}
	address := strings.Fields(s.must(b, 1, "hostname -I"))[0]
	config := strings.NewReplacer("VERSION", tags["kube-apiserver"], "ADDRESS", address, "ETCD", tags["etcd"],
		"failSwapOn: false", sharedKubelet).Replace(kubeadmConfig)
	manifest, err := os.ReadFile(filepath.Join(s.share, "calico/calico-vxlan.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{
		"kubeadm.yaml": config,
		"resolv.conf":  "nameserver 192.0.2.53\n", // kubeadm's CoreDNS does not start without any
		"calico.yaml":  regexp.MustCompile(`(docker.io/calico/[a-z-]+):\S+`).ReplaceAllString(string(manifest), "${1}:"+tags["calico-node"]),
	} {
		if err := os.WriteFile(filepath.Join(s.share, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// time runs a script on a server.
func (s *servers) time(b *testing.B, i int, script string) run {
	b.Helper()
	return s.all(b, map[int]string{i: script})
}

// all runs scripts on several servers at the same moment, and gives what the last one to end took.
func (s *servers) all(b *testing.B, scripts map[int]string) run {
	b.Helper()
	begin := time.Now()
	last := s.together(b, scripts)
	return run{seconds: time.Since(begin).Seconds(), steps: stepsIn(last)}
}

// stepsIn finds slipway's events in what a script printed, one for each step that has ended.
func stepsIn(out string) (ended []engine.Event) {
	for line := range strings.Lines(out) {
		var e engine.Event
		if json.Unmarshal([]byte(line), &e) == nil && (e.State == engine.Done || e.State == engine.Unchanged) {
			ended = append(ended, e)
		}
	}
	return ended
}

// benchInit begins a cluster on the first server.
func (s *servers) benchInit(b *testing.B) {
	const slipwayInit = initCommand + " -o json"
	ready := func(limit string) string { return strings.ReplaceAll(readyScript, "LIMIT", limit) }
	var prepare, theirs, bare, prepared series
	for b.Loop() {
		bare.add(s.time(b, 1, slipwayInit))
		s.must(b, 1, ready("0s")) // it is what it says it is
		s.must(b, 1, "slipway reset")
		prepare.add(s.time(b, 1, prepareCommand))
		theirs.add(s.time(b, 1, kubeadmInit+ready("2m")))
		s.must(b, 1, kubeadmReset+"; "+prepareCommand)
		prepared.add(s.time(b, 1, slipwayInit))
		s.must(b, 1, "slipway reset")
	}
	s.report.compare(b, "init", 0.5, bare, prepared, prepare, theirs)
}

func (s *servers) readJoin(b *testing.B) {
	out := s.must(b, 1, "slipway token create --print-join-command; slipway token create --print-join-command --upload-certs")
	found := regexp.MustCompile(`(?m)slipway join (.*)$`).FindAllStringSubmatch(out, -1)
	if len(found) != 2 {
		b.Fatalf("%d join commands: %s", len(found), out)
	}
	s.worker, s.controlPlane = found[0][1], found[1][1]
}

// benchJoin joins a server to the cluster of the first one.
func (s *servers) benchJoin(b *testing.B, i int, what, args string) {
	before := prepareCommand
	if strings.Contains(args, "--control-plane") { // what kubeadm does not carry
		before += " && slipway certs fetch " + strings.Replace(args, "--control-plane ", "", 1)
	}
	var prepare, theirs, bare, prepared series
	for b.Loop() {
		bare.add(s.time(b, i, "slipway join "+args+fromBundle))
		s.must(b, i, "slipway reset")
		prepare.add(s.time(b, i, before))
		theirs.add(s.time(b, i, "kubeadm join "+args+kubeadmFlags+nodeReadyScript))
		s.must(b, i, kubeadmReset)
		s.removeNode(b, i)
		s.must(b, i, prepareCommand)
		prepared.add(s.time(b, i, "slipway join "+args+fromBundle))
		s.must(b, i, "slipway reset")
	}
	s.report.compare(b, "join of "+what, 0.7, bare, prepared, prepare, theirs)
}

// removeNode does what kubeadm leaves to the administrator.
func (s *servers) removeNode(b *testing.B, i int) {
	s.must(b, 1, "kubectl --kubeconfig /etc/kubernetes/admin.conf delete node --ignore-not-found "+s.machine(i))
}

// benchTogether joins two control planes and three workers at once, against one alone.
func (s *servers) benchTogether(b *testing.B) {
	join := func(args string) string { return "slipway join " + args + fromBundle }
	scripts := map[int]string{2: join(s.worker), 3: join(s.controlPlane), 4: join(s.controlPlane), 5: join(s.worker), 6: join(s.worker)}
	var bareAlone, bare, worker, alone, five series
	for b.Loop() {
		bareAlone.add(s.time(b, 3, scripts[3]))
		s.must(b, 3, "slipway reset")
		bare.add(s.all(b, scripts))
		s.resetFive(b, prepareCommand)
		worker.add(s.time(b, 2, scripts[2]))
		s.must(b, 2, "slipway reset; "+prepareCommand)
		alone.add(s.time(b, 3, scripts[3]))
		s.must(b, 3, "slipway reset; "+prepareCommand)
		five.add(s.all(b, scripts))
		s.resetFive(b, "true")
	}
	s.report.row(b, "2 control planes and 3 workers at once, from bare, against one control plane", "bare", 1.6, bare, bareAlone)
	s.report.row(b, "2 control planes and 3 workers at once, in place, against one control plane", "prepared", 1.6, five, alone)
	s.report.row(b, "2 control planes and 3 workers at once, in place, against one worker", "worker", 0, five, worker)
	s.report.timeline("the last of 5 at once, from bare", bare.median())
	s.report.timeline("the last of 5 at once, programs and images in place", five.median())
}

// resetFive takes all but the first server out again, the control planes one after the other.
func (s *servers) resetFive(b *testing.B, then string) {
	b.Helper()
	const reset = "slipway reset"
	s.all(b, map[int]string{2: reset, 5: reset, 6: reset})
	s.must(b, 3, reset)
	s.must(b, 4, reset)
	s.all(b, map[int]string{2: then, 3: then, 4: then, 5: then, 6: then})
}

// run is one measurement.
type run struct {
	seconds float64
	steps   []engine.Event
}

func bySeconds(x, y run) int { return cmp.Compare(x.seconds, y.seconds) }

// series is what the rounds gave.
type series []run

func (s *series) add(r run) { *s = append(*s, r) }

// median is the run in the middle, the slower one of two.
func (s series) median() run {
	sorted := slices.SortedFunc(slices.Values(s), bySeconds)
	return sorted[len(sorted)/2]
}

// plus adds what was done before, round by round.
func (s series) plus(before series) series {
	out := slices.Clone(s)
	for i := range out {
		out[i].seconds += before[i].seconds
	}
	return out
}

// benchReport is the table at the end, and the steps of slipway's median runs.
type benchReport struct{ rows, steps []string }

// compare reports slipway against kubeadm: the whole job on a bare server, and on one that has programs and images already.
func (r *benchReport) compare(b *testing.B, what string, goal float64, bare, prepared, prepare, theirs series) {
	r.row(b, what+", from bare (kubeadm: after slipway prepare, which counts)", "bare", goal, bare, theirs.plus(prepare))
	r.row(b, what+", programs and images in place", "prepared", goal, prepared, theirs)
	r.timeline(what+", from bare", bare.median())
	r.timeline(what+", programs and images in place", prepared.median())
}

// row reports one comparison. Without a goal it is only for information.
func (r *benchReport) row(b *testing.B, what, unit string, goal float64, ours, theirs series) {
	x, y := ours.median().seconds, theirs.median().seconds
	b.ReportMetric(0, "ns/op") // of all that was done together, which says nothing
	b.ReportMetric(x, unit+"-s")
	b.ReportMetric(y, unit+"-other-s")
	b.ReportMetric(x/y, unit+"-ratio")
	target := ""
	if goal != 0 {
		target = fmt.Sprintf("%.1f", goal)
	}
	r.rows = append(r.rows, fmt.Sprintf("%s\t%.1f\t%.1f\t%.2f\t%s", what, x, y, x/y, target))
}

func (r *benchReport) timeline(what string, m run) {
	r.steps = append(r.steps, fmt.Sprintf("\n%s: %.1f s\nstart\tseconds\tstep", what, m.seconds))
	slices.SortStableFunc(m.steps, func(x, y engine.Event) int { return x.Start.Compare(y.Start) })
	for _, e := range m.steps {
		r.steps = append(r.steps, fmt.Sprintf("%.2f\t%.2f\t%s", e.Start.Sub(m.steps[0].Start).Seconds(), e.Seconds, e.Step))
	}
}

func (r *benchReport) print(b *testing.B) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nwhat\tslipway s\tother s\tratio\tgoal\n%s\n%s\n", strings.Join(r.rows, "\n"), strings.Join(r.steps, "\n"))
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}
