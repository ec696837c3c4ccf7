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

// settle waits until a cluster whose machines run is as it was before they did not: the control plane is healthy, the nodes
// are ready and, if pods are asked for too, so are those of all workloads. What the API still says of the time before counts
// for nothing.
func (c *Cluster) settle(ctx context.Context, pods bool, report engine.Report) error {
	if c.Bare {
		return nil
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	s := &settling{Cluster: c, client: client, machines: machines, since: map[string]time.Time{}}
	for _, m := range machines {
		s.since[m.Name()] = m.Started().Truncate(time.Second) // the API's times have no fractions
	}
	steps := []engine.Step{
		s.step("control-plane", "control-plane-not-ready", s.unhealthy),
		s.step("nodes-ready", "node-not-ready", s.notReady),
	}
	if pods {
		steps = append(steps, s.step("pods-ready", "workload-not-ready", s.unready))
	}
	for i := 1; i < len(steps); i++ {
		steps[i].Needs = []string{steps[i-1].Name}
	}
	return engine.Run(ctx, "", steps, report)
}

// settling is a cluster whose machines were started at some time each.
type settling struct {
	*Cluster
	client   kubernetes.Interface
	machines []*local.Machine
	since    map[string]time.Time
}

const pollSettling = 100 * time.Millisecond

// step asks until nothing is missing any more. It asks instead of watching: the API server itself may only just be starting.
func (s *settling) step(name, id string, missing func(context.Context) []string) engine.Step {
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
				return fault.New(id, fmt.Sprintf("bring back cluster %q", s.Name()), fmt.Errorf("%w; last: %s", context.Cause(ctx), last),
					"see `slipway status "+s.Name()+"`; `slipway start "+s.Name()+"` goes on waiting")
			case <-tick.C:
			}
		}
	})
}

// unhealthy asks the parts of all control planes themselves.
func (s *settling) unhealthy(ctx context.Context) []string {
	var out []string
	for _, part := range s.controlPlane(ctx, s.machines) {
		if !part.Healthy {
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
		for _, cond := range n.Status.Conditions {
			ready[n.Name] = ready[n.Name] || cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue &&
				!cond.LastHeartbeatTime.Time.Before(s.since[n.Name])
		}
	}
	for _, l := range leases.Items {
		ready[l.Name] = ready[l.Name] && isGood(l.Spec)
	}
	var out []string
	for _, n := range s.Nodes {
		if !ready[n.Name] {
			out = append(out, "node "+n.Name)
		}
	}
	return out
}

func isGood(l coordinationv1.LeaseSpec) bool {
	return l.RenewTime != nil && time.Since(l.RenewTime.Time) < time.Duration(ptr.Deref(l.LeaseDurationSeconds, 0))*time.Second
}

// workload is what keeps some pods running.
type workload struct {
	kind string
	metav1.ObjectMeta
	selector *metav1.LabelSelector
	want     int32
}

// unready gives the workloads that have fewer ready pods than they want.
func (s *settling) unready(ctx context.Context) []string {
	list, err := workloads(ctx, s.client)
	if err != nil {
		return []string{err.Error()}
	}
	pods, err := s.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, w := range list {
		if have := s.readyOf(w, pods.Items); have < w.want {
			out = append(out, fmt.Sprintf("%s %s/%s (%d of %d)", w.kind, w.Namespace, w.Name, have, w.want))
		}
	}
	slices.Sort(out)
	return out
}

func (s *settling) readyOf(w workload, pods []corev1.Pod) (n int32) {
	selector, err := metav1.LabelSelectorAsSelector(w.selector)
	if err != nil {
		return w.want // the API server accepted what this program does not know
	}
	for _, p := range pods {
		if p.Namespace == w.Namespace && selector.Matches(labels.Set(p.Labels)) && s.isBack(p) {
			n++
		}
	}
	return n
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
		out = append(out, workload{"deployment", d.ObjectMeta, d.Spec.Selector, ptr.Deref(d.Spec.Replicas, 1)})
	}
	for _, s := range sets.Items {
		out = append(out, workload{"statefulset", s.ObjectMeta, s.Spec.Selector, ptr.Deref(s.Spec.Replicas, 1)})
	}
	for _, d := range daemons.Items {
		out = append(out, workload{"daemonset", d.ObjectMeta, d.Spec.Selector, d.Status.DesiredNumberScheduled})
	}
	return out, nil
}
