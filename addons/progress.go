package addons

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// progress is how far a workload has come.
type progress struct {
	done    bool
	message string
	subject string // the name of the object that holds it up, for its events
}

// counts is what DaemonSets and Deployments have in common.
type counts struct {
	current                       bool // the status is about the latest change
	desired, updated, ready, left int  // left: pods of an older version
}

func progressOf(wait Wait, workloads, pods []*unstructured.Unstructured) progress {
	p := progress{subject: wait.Name}
	if len(workloads) == 0 {
		p.message = wait.Name + ": not created yet"
		return p
	}
	n, err := countsOf(wait.Kind, workloads[0])
	if err != nil {
		p.message = fmt.Sprintf("%s: %v", wait.Name, err)
		return p
	}
	desired := max(n.desired, wait.Min)
	p.message = fmt.Sprintf("%s: %d of %d ready", wait.Name, min(n.ready, n.updated), desired)
	switch {
	case !n.current:
		p.message += ": the controller manager has not seen it yet"
	case n.desired < wait.Min:
		p.message += fmt.Sprintf(": %d nodes are registered for it", n.desired)
		p.hold(pods)
	case n.desired == 0 || n.updated < n.desired || n.ready < n.desired || n.left > 0:
		p.hold(pods)
	default:
		p.done = true
	}
	return p
}

// hold adds the first pod that is in the way, and why.
func (p *progress) hold(pods []*unstructured.Unstructured) {
	name, reason := firstUnready(pods)
	if name == "" {
		return
	}
	p.subject = name
	p.message += fmt.Sprintf(": pod %s: %s", name, reason)
}

func countsOf(kind string, u *unstructured.Unstructured) (counts, error) {
	if kind == KindDaemonSet {
		var d appsv1.DaemonSet
		err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &d)
		return counts{
			current: d.Status.ObservedGeneration >= d.Generation,
			desired: int(d.Status.DesiredNumberScheduled),
			updated: int(d.Status.UpdatedNumberScheduled),
			ready:   int(min(d.Status.NumberReady, d.Status.NumberAvailable)),
		}, err
	}
	var d appsv1.Deployment
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &d)
	n := counts{
		current: d.Status.ObservedGeneration >= d.Generation,
		desired: 1,
		updated: int(d.Status.UpdatedReplicas),
		ready:   int(min(d.Status.ReadyReplicas, d.Status.AvailableReplicas)),
		left:    int(d.Status.Replicas - d.Status.UpdatedReplicas),
	}
	if d.Spec.Replicas != nil {
		n.desired = int(*d.Spec.Replicas)
	}
	return n, err
}
