package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"slipway.dev/slipway/providers/local"
)

// The names of the benchmark's clusters: slipway's, and the machine for kubeadm's.
const (
	ourBench   = "bench"
	fromBench  = "benchf" // made of a snapshot of slipway's
	theirBench = "benchk"
)

// criticalPath is the picture of how the median launch of one node went.
const criticalPath = "../docs/up-critical-path.svg"

// BenchmarkUp compares `slipway up` of one node with kubeadm, and of five nodes with that of one, taking turns. Each round is
// one iteration; medians count. docs/bench-local.md says how to read it.
func BenchmarkUp(b *testing.B) {
	need(b)
	var one, theirs, again, started, from, five, small, smallFive series
	report := &benchReport{}
	for b.Loop() {
		ours, second, start := upOne(b, report)
		one, again, started = append(one, ours), append(again, second), append(started, start)
		from.add(upFrom(b))
		theirs.add(kubeadmOne(b))
		five.add(upFive(b, report))
		small.add(upSmall(b, 1))
		smallFive.add(upSmall(b, 5))
	}
	report.stages(b, one, theirs)
	share := fmt.Sprintf(", each with %v of a processor", smallShare)
	report.row(b, "3 control planes and 2 workers"+share+": ready and DNS answers (other: slipway's one node"+share+")", "five", 1.5, smallFive, small)
	report.row(b, "  all on the same processors", "shared", 0, five, one)
	report.line("  peak memory of all, MiB (other: slipway's one node)", 0, five.of(peakMemory), one.of(peakMemory))
	report.line("second up, one node (other: the first)", 0, again, one.of(commandDone))
	report.line("start of one node that was stopped, until all is back (other: up)", 0.6, started, one.of(commandDone))
	report.row(b, "up --from a snapshot of it: ready and DNS answers (other: up)", "from", 0.5, from, one)
	report.timeline("up --from", from.median())
	report.timeline("one node", one.median())
	report.print(b)
	picture := drawPath("slipway up of one node: the median of "+strconv.Itoa(len(one))+" rounds", one.median(),
		apiAnswers, everythingReady, dnsAnswers)
	if err := os.WriteFile(criticalPath, picture, 0o644); err != nil {
		b.Error(err)
	}
}

// stages has a row for each stage, and for what a node costs when nobody asks anything of it.
func (r *benchReport) stages(b *testing.B, ours, theirs series) {
	for _, stage := range []string{apiAnswers, kubernetesService, dnsService, dnsAnswers, everythingReady, commandDone, appRuns} {
		r.line(stage+", s", 0, ours.of(stage), theirs.of(stage))
	}
	r.row(b, "everything ready and DNS answers, s", "launch", 0.35, ours, theirs)
	r.line(peakMemory, 0, ours.of(peakMemory), theirs.of(peakMemory))
	r.line(idleMemory, 1, ours.of(idleMemory), theirs.of(idleMemory))
	r.line(idleCPU, 1, ours.of(idleCPU), theirs.of(idleCPU))
}

func upFlags(name string, more ...string) []string {
	return append([]string{"up", "--name", name, "--egress=false", "--wait", "5m", "-o", "json"}, more...)
}

// upOne launches one node, looks at it, and takes it down again, but for a snapshot. The second measurement is of a second `up`, the
// third of `start` after `stop`.
func upOne(b *testing.B, report *benchReport) (first, second, start run) {
	b.Helper()
	w := watched{name: ourBench, nodes: 1, kubeconfig: filepath.Join(os.Getenv(stateVar), "clusters", ourBench, "kubeconfig")}
	defer func() { slipway(b, "down", w.name) }()
	var events string
	first = w.launch(b, func() { events = slipway(b, upFlags(w.name)...).stdout })
	first.steps = stepsIn(events)
	w.idle(b, first.marks)
	watch := startWatch(b)
	slipway(b, upFlags(w.name)...)
	second = watch.stop(b)
	report.disk(b, w.name)
	slipway(b, "kubectl", w.name, "--", "delete", "deployment", "bench")
	slipway(b, "snapshot", "save", w.name, keptBench)
	slipway(b, "stop", w.name)
	watch = startWatch(b)
	slipway(b, "start", w.name)
	return first, second, watch.stop(b)
}

// keptBench is the snapshot of a round.
const keptBench = "kept"

// upFrom makes a cluster of the snapshot that upOne has saved, when that one's cluster is gone. What the API says of nodes and pods
// at first is from the snapshot: that all of them are back is when the command is done.
func upFrom(b *testing.B) run {
	b.Helper()
	w := watched{name: fromBench, nodes: 1, kubeconfig: filepath.Join(os.Getenv(stateVar), "clusters", fromBench, "kubeconfig")}
	defer func() {
		slipway(b, "down", w.name)
		slipway(b, "snapshot", "delete", ourBench, keptBench)
	}()
	var events string
	r := w.launch(b, func() {
		events = slipway(b, "up", "--from", keptBench, "--name", w.name, "--egress=false", "--wait", "5m", "-o", "json").stdout
	})
	r.seconds = max(r.marks[commandDone], r.marks[dnsAnswers])
	r.steps = stepsIn(events)
	return r
}

// upFive launches a cluster with several control planes.
func upFive(b *testing.B, report *benchReport) run {
	b.Helper()
	w := watched{name: ourBench, nodes: 5, kubeconfig: filepath.Join(os.Getenv(stateVar), "clusters", ourBench, "kubeconfig")}
	defer func() { slipway(b, "down", w.name) }()
	var events string
	r := w.launch(b, func() { events = slipway(b, upFlags(w.name, "--control-planes", "3", "--workers", "2")...).stdout })
	r.steps = stepsIn(events)
	report.disk(b, w.name)
	return r
}

// smallShare is the part of a processor that each machine has where one machine is compared with five: two processors are enough for
// five such machines, so what they wait for is each other, and not a processor.
const smallShare = 0.4

// upSmall launches one node, or three control planes and two workers.
func upSmall(b *testing.B, nodes int) run {
	b.Helper()
	w := watched{name: ourBench, nodes: nodes, kubeconfig: filepath.Join(os.Getenv(stateVar), "clusters", ourBench, "kubeconfig")}
	defer func() { slipway(b, "down", w.name) }()
	flags := upFlags(w.name, "--cpus", fmt.Sprint(smallShare))
	if nodes > 1 {
		flags = append(flags, "--control-planes", "3", "--workers", "2")
	}
	return w.launch(b, func() { slipway(b, flags...) })
}

// kubeadmOne lets kubeadm make the same of a machine that runs already, with its programs and images in place.
func kubeadmOne(b *testing.B) run {
	b.Helper()
	g := launchMachines(b, theirBench, 1)
	defer func() { slipway(b, "down", g.name) }()
	g.must(b, 1, prepareCommand)
	g.writeKubeadm(b, 1, sharedKubelet)
	if err := errorsOf(
		// kubeadm's CoreDNS does not start without any resolver.
		os.WriteFile(filepath.Join(g.share, "resolv.conf"), []byte("nameserver 192.0.2.53\n"), 0o644),
		appendTo(filepath.Join(g.share, "kubeadm-1.yaml"), untainted),
	); err != nil {
		b.Fatal(err)
	}
	machines, err := listMachines(b.Context(), g.name)
	if err != nil {
		b.Fatal(err)
	}
	m := machines[0]
	w := watched{name: g.name, nodes: 1, kubeconfig: fmt.Sprintf("/proc/%d/root/etc/kubernetes/admin.conf", m.Pid())}
	const script = "kubeadm init --config /media/share/kubeadm-1.yaml" + kubeadmFlags +
		" && kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f /media/share/calico.yaml"
	r := w.launch(b, func() {
		var said bytes.Buffer
		if err := m.Run(b.Context(), local.Command{Args: []string{"sh", "-c", script}, Stdout: &said, Stderr: &said}); err != nil {
			b.Errorf("%v: %s", err, said.String())
		}
	})
	w.idle(b, r.marks)
	return r
}

// untainted lets kubeadm's control plane run pods, as slipway's only node does.
const untainted = `---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
nodeRegistration: {taints: []}
`

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errorsOf(err, f.Close())
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// listMachines finds the machines of a cluster, some of which may only be about to be made.
func listMachines(ctx context.Context, name string) ([]*local.Machine, error) {
	state := os.Getenv(stateVar)
	p := local.New(local.Config{StateDir: state, RunDir: os.Getenv("SLIPWAY_RUN"), Runc: filepath.Join(state, "clusters", name, "runc")})
	machines, err := p.List(ctx, name)
	if err == nil && len(machines) == 0 {
		err = fmt.Errorf("there is no machine of %q", name)
	}
	return machines, err
}

// disk notes what machines add to what all share: a file that is in both, by a hard link, counts where it is shared.
func (r *benchReport) disk(b *testing.B, name string) {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(os.Getenv(stateVar), "clusters", name, "cluster.json"))
	var record struct{ Store string }
	if err = errorsOf(err, json.Unmarshal(data, &record)); err != nil {
		b.Fatal(err)
	}
	machines, err := listMachines(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	paths := []string{filepath.Dir(record.Store)}
	for _, m := range machines {
		paths = append(paths, filepath.Dir(m.Dir()))
	}
	out, err := exec.Command("du", append([]string{"-x", "-s", "-m"}, paths...)...).Output()
	if err != nil {
		b.Fatalf("du: %v", err)
	}
	sizes := map[string]int{}
	for line := range strings.Lines(string(out)) {
		var size int
		var path string
		if _, err := fmt.Sscan(line, &size, &path); err != nil {
			b.Fatal(err)
		}
		sizes[path] = size
	}
	text := fmt.Sprintf("disk of %d machines: shared by all machines of this computer %d MiB", len(paths)-1, sizes[paths[0]])
	for _, path := range paths[1:] {
		text += fmt.Sprintf(", %s %d MiB", filepath.Base(path), sizes[path])
	}
	r.disks = slices.DeleteFunc(r.disks, func(s string) bool { return s[:len("disk of 1")] == text[:len("disk of 1")] })
	r.disks = append(r.disks, text)
}
