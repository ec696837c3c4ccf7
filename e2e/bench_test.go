package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	watchtools "k8s.io/client-go/tools/watch"

	"slipway.dev/slipway/bootstrap/engine"
)

// BenchmarkServers compares slipway with the kubeadm of the same bundle, on the same machines, taking turns: what else the
// computer does hits both. Each round is one iteration; medians count. docs/bench-servers.md says how to read it.
func BenchmarkServers(b *testing.B) {
	need(b)
	s := &servers{group: launchMachines(b, "bench", 7), report: &benchReport{}}
	for _, i := range []int{1, theirFirst} {
		s.writeKubeadm(b, i, sharedKubelet)
	}
	// kubeadm's CoreDNS does not start without any resolver.
	if err := os.WriteFile(filepath.Join(s.share, "resolv.conf"), []byte("nameserver 192.0.2.53\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	b.Run("init", s.benchInit)
	ours := s.beginOurs(b)
	theirs := s.beginTheirs(b)
	b.Run("worker", func(b *testing.B) { s.benchJoin(b, 2, "a worker", ours, theirs, joinCommands.asWorker) })
	b.Run("controlplane", func(b *testing.B) { s.benchJoin(b, 3, "a control plane", ours, theirs, joinCommands.asControlPlane) })
	s.must(b, theirFirst, kubeadmReset)
	b.Run("together", func(b *testing.B) { s.benchTogether(b, ours) })
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
	// untilReady is the mark of when the command had ended and the node was Ready.
	untilReady = "ready"
	// The Node may not be there yet, at which kubectl gives up.
	nodeReadyScript = ` && export KUBECONFIG=/etc/kubernetes/kubelet.conf &&
		timeout 300 sh -c 'until kubectl wait --timeout=5m --for=condition=Ready node $(hostname); do sleep 0.1; done'`
)

// kubeadmInit begins a cluster with the same Calico, and ends when all is ready.
func kubeadmInit(i int) string {
	return fmt.Sprintf("kubeadm init --config /media/share/kubeadm-%d.yaml --upload-certs%s && ", i, kubeadmFlags) +
		"kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f /media/share/calico.yaml && " + ready("2m")
}

func ready(limit string) string { return strings.ReplaceAll(readyScript, "LIMIT", limit) }

// sharedKubelet gives kubeadm's kubelet what slipway's has on these machines, which share a disk with others.
const sharedKubelet = `syncFrequency: 10s
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
resolvConf: /media/share/resolv.conf`

// theirFirst is the server with kubeadm's cluster, which runs beside slipway's on the first.
const theirFirst = 7

// servers are machines that a benchmark makes nodes of, again and again.
type servers struct {
	group
	report *benchReport
}

// benchCluster is one that servers join.
type benchCluster struct {
	client kubernetes.Interface
	join   joinCommands // ENDPOINT --token ...
}

func (j joinCommands) asWorker() string       { return j.worker }
func (j joinCommands) asControlPlane() string { return j.controlPlane }

// beginOurs makes slipway's cluster on the first server.
func (s *servers) beginOurs(b *testing.B) benchCluster {
	s.must(b, 1, initCommand)
	out := s.must(b, 1, "slipway token create --print-join-command; slipway token create --print-join-command --upload-certs")
	found := regexp.MustCompile(`(?m)slipway join (.*)$`).FindAllStringSubmatch(out, -1)
	if len(found) != 2 {
		b.Fatalf("%d join commands: %s", len(found), out)
	}
	return s.cluster(b, 1, joinCommands{worker: found[0][1], controlPlane: found[1][1]})
}

// beginTheirs makes kubeadm's cluster on a server of its own.
func (s *servers) beginTheirs(b *testing.B) benchCluster {
	s.must(b, theirFirst, prepareCommand)
	out := s.must(b, theirFirst, kubeadmInit(theirFirst))
	return s.cluster(b, theirFirst, joinKubeadm(b, out))
}

// workload runs on each node as soon as it has a network for pods.
const workload = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: workload}
spec:
  selector: {matchLabels: {app: workload}}
  template:
    metadata: {labels: {app: workload}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{operator: Exists}]
      containers: [{name: pause, image: IMAGE, imagePullPolicy: Never}]
`

// cluster has the workload, and is what the server at i made.
func (s *servers) cluster(b *testing.B, i int, join joinCommands) benchCluster {
	manifest := strings.Replace(workload, "IMAGE", imageRefs(b)["pause"], 1)
	s.must(b, i, "kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f - <<'END'\n"+manifest+"END")
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(s.must(b, i, "cat /etc/kubernetes/admin.conf")))
	if err != nil {
		b.Fatal(err)
	}
	if i == 1 { // its administrator's kubeconfig may name the load balancer of that server
		config.Host = "https://" + strings.Fields(s.must(b, i, "hostname -I"))[0] + ":6443"
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	return benchCluster{client, join}
}

// works ends when the workload's pod, started since then, is Ready on a node.
func (c benchCluster) works(b *testing.B, node string, since time.Time) {
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	list := cache.NewFilteredListWatchFromClient(c.client.CoreV1().RESTClient(), "pods", metav1.NamespaceDefault, func(o *metav1.ListOptions) {
		o.LabelSelector, o.FieldSelector = "app=workload", "spec.nodeName="+node
	})
	_, err := watchtools.UntilWithSync(ctx, list, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
		p, ok := e.Object.(*corev1.Pod)
		if !ok || len(p.Status.ContainerStatuses) == 0 {
			return false, nil
		}
		now := p.Status.ContainerStatuses[0].State.Running
		return podReady(*p) == nil && now != nil && !now.StartedAt.Time.Before(since.Truncate(time.Second)), nil
	})
	if err != nil {
		b.Errorf("wait for a pod on %s: %v", node, err)
	}
}

// time runs a script on a server.
func (s *servers) time(b *testing.B, i int, script string) run {
	b.Helper()
	watch := startWatch(b)
	out := s.must(b, i, script)
	r := watch.stop(b)
	r.steps = stepsIn(out)
	return r
}

// join runs scripts that make nodes of servers at the same moment, and gives what it took until a pod runs on each of them.
func (s *servers) join(b *testing.B, c benchCluster, scripts map[int]string) run {
	b.Helper()
	watch := startWatch(b)
	var pods sync.WaitGroup
	for i := range scripts {
		pods.Go(func() { c.works(b, s.machine(i), watch.began) })
	}
	last := s.together(b, scripts)
	ready := watch.seconds()
	pods.Wait()
	r := watch.stop(b)
	r.marks, r.steps = map[string]float64{untilReady: ready}, stepsIn(last)
	return r
}

// stepsIn finds slipway's events in what a script printed, one for each step that has ended, with what it needed.
func stepsIn(out string) (ended []engine.Event) {
	needs := map[string][]string{}
	for line := range strings.Lines(out) {
		var e engine.Event
		if json.Unmarshal([]byte(line), &e) != nil {
			continue
		}
		switch step := e.Host + " " + e.Step; e.State {
		case engine.Started:
			needs[step] = e.Needs
		case engine.Done, engine.Unchanged:
			e.Needs = needs[step]
			ended = append(ended, e)
		}
	}
	return ended
}

// benchInit begins a cluster on the first server.
func (s *servers) benchInit(b *testing.B) {
	const slipwayInit = initCommand + " -o json"
	var prepare, theirs, bare, prepared series
	for b.Loop() {
		bare.add(s.time(b, 1, slipwayInit))
		s.must(b, 1, ready("0s")) // it is what it says it is
		s.must(b, 1, "slipway reset")
		prepare.add(s.time(b, 1, prepareCommand))
		theirs.add(s.time(b, 1, kubeadmInit(1)))
		s.must(b, 1, kubeadmReset+"; "+prepareCommand)
		prepared.add(s.time(b, 1, slipwayInit))
		s.must(b, 1, "slipway reset")
	}
	s.report.compare(b, "init", 0.5, bare, prepared, prepare, theirs)
}

// benchJoin joins a server to the cluster that each tool has made.
func (s *servers) benchJoin(b *testing.B, i int, what string, ours, theirs benchCluster, as func(joinCommands) string) {
	our, their := "slipway join "+as(ours.join)+fromBundle, "kubeadm join "+as(theirs.join)+kubeadmFlags+nodeReadyScript
	var prepare, kubeadm, bare, prepared series
	for b.Loop() {
		bare.add(s.join(b, ours, map[int]string{i: our}))
		s.must(b, i, "slipway reset")
		prepare.add(s.time(b, i, prepareCommand))
		kubeadm.add(s.join(b, theirs, map[int]string{i: their}))
		s.must(b, i, kubeadmReset)
		s.removeNode(b, i)
		s.must(b, i, prepareCommand)
		prepared.add(s.join(b, ours, map[int]string{i: our}))
		s.must(b, i, "slipway reset")
	}
	s.report.compare(b, "join of "+what, 0.7, bare, prepared, prepare, kubeadm)
	s.report.row(b, "join of "+what+", programs and images in place, until the node is Ready", "ready", 0, prepared.of(untilReady), kubeadm.of(untilReady))
}

// removeNode does what kubeadm leaves to the administrator.
func (s *servers) removeNode(b *testing.B, i int) {
	s.must(b, theirFirst, "kubectl --kubeconfig /etc/kubernetes/admin.conf delete node --ignore-not-found "+s.machine(i))
}

// joinersShare is the part of a processor that each server has that joins at the same moment as others. Servers bring their own
// processors; those of this computer, which all machines share, would be what is measured otherwise.
const joinersShare = 0.25

// benchTogether joins two control planes and three workers at once, against one control plane alone.
func (s *servers) benchTogether(b *testing.B, c benchCluster) {
	worker, controlPlane := "slipway join "+c.join.worker+fromBundle, "slipway join "+c.join.controlPlane+fromBundle
	all := map[int]string{2: worker, 3: controlPlane, 4: controlPlane, 5: worker, 6: worker}
	one := map[int]string{3: controlPlane}
	limited := func(scripts map[int]string) run {
		s.limit(b, joinersShare)
		defer s.limit(b, 0)
		return s.join(b, c, scripts)
	}
	var bareAlone, bare, alone, five, sharedAlone, shared series
	for b.Loop() {
		bareAlone.add(limited(one))
		s.must(b, 3, "slipway reset")
		bare.add(limited(all))
		s.resetFive(b, prepareCommand)
		alone.add(limited(one))
		s.must(b, 3, "slipway reset; "+prepareCommand)
		five.add(limited(all))
		s.resetFive(b, prepareCommand)
		sharedAlone.add(s.join(b, c, one))
		s.must(b, 3, "slipway reset; "+prepareCommand)
		shared.add(s.join(b, c, all))
		s.resetFive(b, "true")
	}
	const what = "2 control planes and 3 workers at once, against one control plane: "
	share := fmt.Sprintf("each with %.2f of a processor, ", joinersShare)
	s.report.row(b, what+share+"from bare", "bare", 1.6, bare, bareAlone)
	s.report.row(b, what+share+"programs and images in place", "prepared", 1.6, five, alone)
	s.report.row(b, what+"all on the same processors, programs and images in place", "shared", 0, shared, sharedAlone)
	s.report.timeline("the last of 5 at once, from bare", bare.median())
	s.report.timeline("the last of 5 at once, programs and images in place", five.median())
}

// limit lets each server that joins have this much of a processor; 0 is no limit.
func (s *servers) limit(b *testing.B, processors float64) {
	b.Helper()
	const period = 100_000 // microseconds, which is the kernel's own
	v1, v2 := "-1", "max"
	if processors > 0 {
		v1 = fmt.Sprint(int(processors * period))
		v2 = v1
	}
	for i := 2; i <= 6; i++ {
		path, text := filepath.Join("/sys/fs/cgroup/cpu/slipway", s.name, s.machine(i), "cpu.cfs_quota_us"), v1
		if _, err := os.Stat(path); err != nil { // version 2 of control groups
			path, text = filepath.Join("/sys/fs/cgroup/slipway", s.name, s.machine(i), "cpu.max"), v2
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// resetFive takes all but the first server out again, the control planes one after the other.
func (s *servers) resetFive(b *testing.B, then string) {
	b.Helper()
	const reset = "slipway reset"
	s.together(b, map[int]string{2: reset, 5: reset, 6: reset})
	s.must(b, 3, reset)
	s.must(b, 4, reset)
	s.together(b, map[int]string{2: then, 3: then, 4: then, 5: then, 6: then})
}
