package localcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// settle waits until a cluster whose machines run is as it was before they did not: the control plane is healthy and led, the nodes
// are ready and, if pods are asked for too, so are those of all workloads. What the API still says of the time before counts
// for nothing.
func (c *Cluster) settle(ctx context.Context, pods bool, report engine.Report) error {
	if c.Bare {
		return nil
	}
	s, err := c.settling(ctx)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("bring back cluster %q", c.Name())
	next := fmt.Sprintf("see `slipway status %[1]s`; `slipway start %[1]s` goes on waiting", c.Name())
	steps := []engine.Step{
		s.step("control-plane", s.unhealthy, func(err error) error { return fault.New("control-plane-not-ready", op, err, next) }),
		s.step("nodes-ready", s.notReady, func(err error) error { return fault.New("node-not-ready", op, err, next) }),
	}
	if pods {
		steps = append(steps, s.step("pods-ready", s.unready, func(err error) error { return fault.New("workload-not-ready", op, err, next) }))
	}
	for i := 1; i < len(steps); i++ {
		steps[i].Needs = []string{steps[i-1].Name}
	}
	leaders := s.step("leaders", s.unled, func(err error) error { return fault.New("control-plane-not-ready", op, err, next) })
	if err := engine.Run(ctx, "", append(steps, leaders), report); err != nil || !c.Starting || !pods {
		s.explain(ctx, err)
		return err
	}
	c.Starting = false
	return c.save()
}

// settling is a cluster whose machines were started at some time each.
type settling struct {
	*Cluster
	client   kubernetes.Interface
	machines []*local.Machine
	since    map[string]time.Time
}

func (c *Cluster) settling(ctx context.Context) (*settling, error) {
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	s := &settling{Cluster: c, client: client, machines: machines, since: map[string]time.Time{}}
	for _, m := range machines {
		s.since[m.Name()] = m.Started().Truncate(time.Second) // the API's times have no fractions
	}
	return s, nil
}

// remember notes which workloads are not ready while all machines still run: a later start does not wait for those. What was
// noted stays where nobody answers, or the last start never came to its end.
func (c *Cluster) remember(ctx context.Context) error {
	state, err := c.State(ctx)
	if err != nil || c.Bare || c.Starting || state != stateRunning {
		return err
	}
	s, err := c.settling(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, err := s.lacking(ctx)
	if err != nil { // it can be stopped all the same
		return nil
	}
	c.Unready = nil
	for _, w := range list {
		c.Unready = append(c.Unready, w.String())
	}
	return c.save()
}

const pollSettling = 100 * time.Millisecond

// step asks until nothing is missing any more. It asks instead of watching: the API server itself may only just be starting.
func (s *settling) step(name string, missing func(context.Context) []string, late func(error) error) engine.Step {
	return oneStep(name, func(ctx context.Context, progress func(string)) error {
		tick := time.NewTicker(pollSettling)
		defer tick.Stop()
		last := ""
		for {
			list := missing(ctx)
			if len(list) == 0 {
				return nil
			}
			if ctx.Err() == nil {
				if why := "wait for " + strings.Join(list, ", "); why != last {
					last = why
					progress(why)
				}
			}
			select {
			case <-ctx.Done():
				return late(fmt.Errorf("%w; last: %s", context.Cause(ctx), last))
			case <-tick.C:
			}
		}
	})
}

// unhealthy asks the parts of all control planes themselves.
func (s *settling) unhealthy(ctx context.Context) []string {
	var out []string
	for _, part := range s.controlPlane(ctx, s.machines) {
		if !part.Healthy && s.whole(part.Node) {
			out = append(out, part.Name+" on "+part.Node)
		}
	}
	return out
}

// notReady gives the nodes that are not ready, or were heard of only before their machines were started, or not within the
// time that their leases are good for.
func (s *settling) notReady(ctx context.Context) []string {
	nodes, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return []string{err.Error()}
	}
	leases, err := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).List(ctx, metav1.ListOptions{})
	if err != nil {
		return []string{err.Error()}
	}
	ready := map[string]bool{}
	for _, n := range nodes.Items {
		ready[n.Name] = s.saysReady(n)
	}
	for _, l := range leases.Items {
		ready[l.Name] = ready[l.Name] && isGood(l.Spec)
	}
	var out []string
	for _, n := range s.Nodes {
		if !ready[n.Name] && s.whole(n.Name) {
			out = append(out, "node "+n.Name)
		}
	}
	return out
}

// saysReady is about what a node has said since its machine was started. Without a network of ours it is enough that it has said
// anything.
func (s *settling) saysReady(n corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		good := c.Status == corev1.ConditionTrue || s.Cluster.Cluster.NoCNI
		return c.Type == corev1.NodeReady && good && !c.LastHeartbeatTime.Time.Before(s.since[n.Name])
	})
}

func isGood(l coordinationv1.LeaseSpec) bool {
	return l.RenewTime != nil && time.Since(l.RenewTime.Time) < time.Duration(ptr.Deref(l.LeaseDurationSeconds, 0))*time.Second
}

// workload is what keeps some pods running.
type workload struct {
	kind string
	metav1.ObjectMeta
	selector   *metav1.LabelSelector
	want, have int32 // ready pods
}

const daemonSet = "daemonset"

func (w workload) String() string { return w.kind + " " + w.Namespace + "/" + w.Name }

// unready gives the workloads that are not back and, when all are, the Services that do not lead to them yet. Those that were not ready
// before are not waited for.
func (s *settling) unready(ctx context.Context) []string {
	list, err := s.lacking(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, w := range list {
		if !slices.Contains(s.Unready, w.String()) {
			out = append(out, fmt.Sprintf("%v (%d of %d)", w, w.have, w.want))
		}
	}
	if len(out) == 0 {
		if out, err = s.misled(ctx); err != nil {
			return []string{err.Error()}
		}
	}
	slices.Sort(out)
	return out
}

// lacking gives the workloads that have fewer ready pods than they want.
func (s *settling) lacking(ctx context.Context) ([]workload, error) {
	list, err := workloads(ctx, s.client)
	if err != nil {
		return nil, err
	}
	pods, err := s.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []workload
	for _, w := range list {
		var elsewhere int32
		if w.have, elsewhere = s.readyOf(w, pods.Items); w.kind == daemonSet {
			w.want -= elsewhere
		}
		if w.have < w.want {
			out = append(out, w)
		}
	}
	return out, nil
}

// readyOf counts the pods of a workload that are back, and those on nodes of which nothing is expected.
func (s *settling) readyOf(w workload, pods []corev1.Pod) (ready, elsewhere int32) {
	selector, err := metav1.LabelSelectorAsSelector(w.selector)
	if err != nil {
		return w.want, 0 // the API server accepted what this program does not know
	}
	for _, p := range pods {
		if p.Namespace != w.Namespace || !selector.Matches(labels.Set(p.Labels)) {
			continue
		}
		switch {
		case s.unfinished(p.Spec.NodeName):
			elsewhere++
		case s.isBack(p):
			ready++
		}
	}
	return ready, elsewhere
}

// isBack tells whether a pod is ready, with containers that were started since its machine was.
func (s *settling) isBack(p corev1.Pod) bool {
	since := s.since[p.Spec.NodeName]
	old := slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Running == nil || c.State.Running.StartedAt.Time.Before(since)
	})
	return !old && p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func workloads(ctx context.Context, client kubernetes.Interface) ([]workload, error) {
	apps := client.AppsV1()
	deployments, err1 := apps.Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	sets, err2 := apps.StatefulSets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	daemons, err3 := apps.DaemonSets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	var out []workload
	for _, d := range deployments.Items {
		out = append(out, workload{kind: "deployment", ObjectMeta: d.ObjectMeta, selector: d.Spec.Selector, want: ptr.Deref(d.Spec.Replicas, 1)})
	}
	for _, s := range sets.Items {
		out = append(out, workload{kind: "statefulset", ObjectMeta: s.ObjectMeta, selector: s.Spec.Selector, want: ptr.Deref(s.Spec.Replicas, 1)})
	}
	for _, d := range daemons.Items {
		out = append(out, workload{kind: daemonSet, ObjectMeta: d.ObjectMeta, selector: d.Spec.Selector, want: d.Status.DesiredNumberScheduled})
	}
	return out, nil
}
