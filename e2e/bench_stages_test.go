package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	watchtools "k8s.io/client-go/tools/watch"
)

// The stages of a launch, each in seconds since its begin, as in minikube's definition of the time until Kubernetes is there:
// https://github.com/tstromberg/time-to-k8s. An app can only be created once the command has ended.
const (
	commandDone       = "command done"
	apiAnswers        = "API answers"
	kubernetesService = "kubernetes Service"
	dnsService        = "DNS Service"
	appRuns           = "app running, created when the command is done"
	dnsAnswers        = "DNS answers"
	everythingReady   = "everything ready"
)

// What a cluster costs.
const (
	peakMemory = "peak memory, MiB"
	idleMemory = "idle memory, MiB"
	idleCPU    = "idle CPU, thousandths of a processor"
)

const (
	pollStage   = 20 * time.Millisecond
	stageLimit  = 5 * time.Minute
	sampleEvery = 100 * time.Millisecond
	// A cluster settles for this long after its launch; then it is looked at.
	settleTime = 20 * time.Second
	idleTime   = 30 * time.Second
)

// watched is a cluster that is being launched.
type watched struct {
	name       string
	nodes      int
	kubeconfig string // of its administrator; it may come later
}

// launch runs the command, and gives what it took until everything was ready and DNS answered, with the stages before.
func (w watched) launch(b *testing.B, command func()) run {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), stageLimit)
	defer cancel()
	l := &launched{watched: w, ctx: ctx, watch: startWatch(b), marks: map[string]float64{}}
	var peak int
	stop := every(ctx, sampleEvery, func() { peak = max(peak, w.memory()) })
	var stages sync.WaitGroup
	stages.Go(func() { l.fail(b, l.follow()) })
	command()
	l.reached(commandDone)
	l.fail(b, l.app(b))
	stages.Wait()
	stop()
	if b.Failed() {
		b.FailNow()
	}
	r := l.watch.stop(b)
	r.marks = l.marks
	r.marks[peakMemory] = float64(peak) / (1 << 20)
	r.seconds = max(r.marks[dnsAnswers], r.marks[everythingReady])
	return r
}

// launched is the launch of a cluster as it goes on.
type launched struct {
	watched
	ctx   context.Context //nolint:containedctx // it lives for one launch
	watch stopwatch

	mu    sync.Mutex
	marks map[string]float64
}

func (l *launched) reached(stage string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks[stage] = l.watch.seconds()
}

func (l *launched) fail(b *testing.B, err error) {
	if err != nil {
		b.Errorf("%s: %v", l.name, err)
	}
}

// follow goes through the stages that the command has nothing to do with.
func (l *launched) follow() error {
	c, err := l.client()
	if err != nil {
		return err
	}
	err = l.poll("the API", func(ctx context.Context) error { _, err := c.Discovery().ServerVersion(); return err })
	if err != nil {
		return err
	}
	l.reached(apiAnswers)
	var ready sync.WaitGroup
	var failed error
	kubernetes, err := l.service(c, metav1.NamespaceDefault, "kubernetes")
	if err != nil {
		return err
	}
	l.reached(kubernetesService)
	ready.Go(func() { failed = l.everything(c) })
	defer ready.Wait()
	dns, err := l.service(c, metav1.NamespaceSystem, "kube-dns")
	if err != nil {
		return err
	}
	l.reached(dnsService)
	if err := l.dns(dns, kubernetes); err != nil {
		return err
	}
	l.reached(dnsAnswers)
	ready.Wait()
	return failed
}

// poll asks until there is no error.
func (l *launched) poll(what string, ask func(context.Context) error) error {
	tick := time.NewTicker(pollStage)
	defer tick.Stop()
	for {
		err := ask(l.ctx)
		if err == nil {
			return nil
		}
		select {
		case <-l.ctx.Done():
			return fmt.Errorf("wait for %s: %w; last: %w", what, context.Cause(l.ctx), err)
		case <-tick.C:
		}
	}
}

// client waits for the kubeconfig.
func (l *launched) client() (c *kubernetes.Clientset, err error) {
	err = l.poll("the kubeconfig", func(context.Context) error {
		data, err := os.ReadFile(l.kubeconfig)
		if err != nil {
			return err
		}
		config, err := clientcmd.RESTConfigFromKubeConfig(data)
		if err != nil {
			return err
		}
		config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
		config.Timeout = 0
		config.Dial = (&net.Dialer{Timeout: time.Second}).DialContext // nobody answers before the machine has its address
		c, err = kubernetes.NewForConfig(config)
		return err
	})
	return c, err
}

// service gives the address of a Service as soon as the administrator sees it.
func (l *launched) service(c kubernetes.Interface, namespace, name string) (address string, err error) {
	err = l.poll("Service "+name, func(ctx context.Context) error {
		s, err := c.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			address = s.Spec.ClusterIP
		}
		return err
	})
	return address, err
}

// dns asks the Service at server, from a machine and as its pods would, until it knows where the API is.
func (l *launched) dns(server, want string) error {
	machines, err := listMachines(l.ctx, l.name)
	if err != nil {
		return err
	}
	machine := machines[0]
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return machine.Dial(ctx, network, net.JoinHostPort(server, "53"))
	}}
	return l.poll("DNS", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*pollStage)
		defer cancel()
		got, err := resolver.LookupNetIP(ctx, "ip4", "kubernetes.default.svc.cluster.local.")
		if err == nil && !slices.Contains(got, netip.MustParseAddr(want)) {
			err = fmt.Errorf("it says %v, not %s", got, want)
		}
		return err
	})
}

// everything waits for the nodes, Calico, kube-proxy and CoreDNS. Of CoreDNS one pod is enough on one node, as kubeadm starts two.
func (l *launched) everything(c kubernetes.Interface) error {
	var all sync.WaitGroup
	errs := make([]error, 3)
	all.Go(func() {
		errs[0] = l.until(c.CoreV1().RESTClient(), "nodes", "", &corev1.Node{}, func(o map[string]runtime.Object) bool {
			return len(o) == l.nodes && !slices.ContainsFunc(slices.Collect(maps.Values(o)), func(o runtime.Object) bool {
				return nodeReady(*o.(*corev1.Node), "v1.") != nil
			})
		})
	})
	all.Go(func() {
		errs[1] = l.until(c.AppsV1().RESTClient(), "daemonsets", metav1.NamespaceSystem, &appsv1.DaemonSet{}, func(o map[string]runtime.Object) bool {
			return l.runs(o["calico-node"]) && l.runs(o["kube-proxy"])
		})
	})
	all.Go(func() {
		errs[2] = l.until(c.AppsV1().RESTClient(), "deployments", metav1.NamespaceSystem, &appsv1.Deployment{}, func(o map[string]runtime.Object) bool {
			return available(o["coredns"], 1) && available(o["calico-kube-controllers"], 1)
		})
	})
	all.Wait()
	l.reached(everythingReady)
	return errors.Join(errs...)
}

func (l *launched) runs(o runtime.Object) bool {
	d, ok := o.(*appsv1.DaemonSet)
	return ok && d.Status.ObservedGeneration == d.Generation && int(d.Status.NumberReady) == l.nodes
}

func available(o runtime.Object, replicas int32) bool {
	d, ok := o.(*appsv1.Deployment)
	return ok && d.Status.ObservedGeneration == d.Generation && d.Status.AvailableReplicas >= replicas
}

// until watches objects, by name, until they are as they have to be.
func (l *launched) until(
	client cache.Getter, resource, namespace string, kind runtime.Object, done func(map[string]runtime.Object) bool,
) error {
	list := cache.NewFilteredListWatchFromClient(client, resource, namespace, func(*metav1.ListOptions) {})
	seen := map[string]runtime.Object{}
	_, err := watchtools.UntilWithSync(l.ctx, list, kind, nil, func(e watch.Event) (bool, error) {
		if o, ok := e.Object.(metav1.Object); ok {
			seen[o.GetName()] = e.Object
			if e.Type == watch.Deleted {
				delete(seen, o.GetName())
			}
		}
		return done(seen), nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", resource, err)
	}
	return nil
}

// app runs a Deployment with an image that every node has.
func (l *launched) app(b *testing.B) error {
	c, err := l.client()
	if err != nil {
		return err
	}
	one, labels := int32(1), map[string]string{"app": "bench"}
	_, err = c.AppsV1().Deployments(metav1.NamespaceDefault).Create(l.ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{
					{Name: "pause", Image: imageRefs(b)["pause"], ImagePullPolicy: corev1.PullNever},
				}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	err = l.until(c.AppsV1().RESTClient(), "deployments", metav1.NamespaceDefault, &appsv1.Deployment{}, func(o map[string]runtime.Object) bool {
		return available(o["bench"], 1)
	})
	l.reached(appRuns)
	return err
}

// idle adds what the cluster costs when nobody asks anything of it.
func (w watched) idle(b *testing.B, marks map[string]float64) {
	b.Helper()
	time.Sleep(settleTime) // nothing says that a cluster has come to rest: each one is given the same time
	var samples, sum int
	stop := every(b.Context(), 10*sampleEvery, func() { samples, sum = samples+1, sum+w.memory() })
	began, used := time.Now(), w.used()
	time.Sleep(idleTime)
	marks[idleCPU] = 1000 * (w.used() - used).Seconds() / time.Since(began).Seconds()
	stop()
	marks[idleMemory] = float64(sum) / float64(samples) / (1 << 20)
}

// every calls f again and again, beginning now, until ctx ends or the result has been called.
func every(ctx context.Context, interval time.Duration, f func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(interval) {
			f()
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// memory is what the programs on all machines have of their own, in bytes: neither files in the kernel's cache nor code, of
// which all machines have the same copy.
func (w watched) memory() (bytes int) {
	for _, file := range w.cgroupFiles("memory", "memory.stat") {
		for line := range strings.Lines(file) {
			for _, name := range []string{"total_rss ", "anon "} { // of version 1 and 2 of control groups
				if text, ok := strings.CutPrefix(line, name); ok {
					n, _ := strconv.Atoi(strings.TrimSpace(text))
					bytes += n
				}
			}
		}
	}
	return bytes
}

// used is the processors' time that all machines have had.
func (w watched) used() (d time.Duration) {
	for _, file := range w.cgroupFiles("cpuacct", "cpuacct.usage") {
		n, _ := strconv.Atoi(strings.TrimSpace(file))
		d += time.Duration(n)
	}
	for _, file := range w.cgroupFiles("", "cpu.stat") {
		for line := range strings.Lines(file) {
			if text, ok := strings.CutPrefix(line, "usage_usec "); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(text))
				d += time.Duration(n) * time.Microsecond
			}
		}
	}
	return d
}

// cgroupFiles reads a file of the control group of each machine, in a hierarchy of version 1 or the one of version 2.
func (w watched) cgroupFiles(hierarchy, name string) (contents []string) {
	for _, root := range slices.Compact([]string{hierarchy, ""}) {
		paths, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", root, "slipway", w.name, "*", name))
		for _, path := range paths {
			if data, err := os.ReadFile(path); err == nil { // a machine may be gone
				contents = append(contents, string(data))
			}
		}
	}
	return contents
}
