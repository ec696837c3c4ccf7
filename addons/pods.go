package addons

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
)

// firstUnready names, in the order of names so that messages do not jump, a pod that is not ready.
func firstUnready(pods []*unstructured.Unstructured) (name, reason string) {
	byName := slices.SortedFunc(slices.Values(pods), func(a, b *unstructured.Unstructured) int {
		return cmp.Compare(a.GetName(), b.GetName())
	})
	for _, u := range byName {
		var pod corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &pod); err != nil {
			return u.GetName(), err.Error()
		}
		if !ready(&pod) {
			return pod.Name, onNode(&pod, whyUnready(&pod))
		}
	}
	return "", ""
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func onNode(pod *corev1.Pod, reason string) string {
	if pod.Spec.NodeName == "" {
		return reason
	}
	return fmt.Sprintf("on %s: %s", pod.Spec.NodeName, reason)
}

// PodProblem says why a pod is not ready, and nothing of one that is.
func PodProblem(pod *corev1.Pod) string {
	if ready(pod) {
		return ""
	}
	return whyUnready(pod)
}

// whyUnready prefers what a container says of itself to what the pod says of its containers.
func whyUnready(pod *corev1.Pod) string {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, c := range list {
			if reason := whyContainer(c); reason != "" {
				return fmt.Sprintf("container %s: %s", c.Name, reason)
			}
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
			return cmp.Or(c.Message, c.Reason, "not scheduled yet")
		}
	}
	return "containers are starting"
}

func whyContainer(c corev1.ContainerStatus) string {
	switch {
	case c.State.Waiting != nil && c.State.Waiting.Reason != "PodInitializing":
		return join(c.State.Waiting.Reason, c.State.Waiting.Message)
	case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
		return join(fmt.Sprintf("exited with code %d", c.State.Terminated.ExitCode), c.State.Terminated.Message)
	case c.State.Running != nil && !c.Ready && c.LastTerminationState.Terminated != nil:
		return fmt.Sprintf("running again after it exited with code %d", c.LastTerminationState.Terminated.ExitCode)
	case c.State.Running != nil && !c.Ready:
		return "running, not ready yet"
	}
	return ""
}

func join(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + message
}

// lastWarning is the newest warning about an object, or nothing where that cannot be had quickly:
// it is asked for when time is up.
func (w *waiter) lastWarning(ctx context.Context, subject string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	match := fields.Set{"involvedObject.name": subject, "type": corev1.EventTypeWarning}
	list, err := w.in(coreResource("events")).List(ctx, metav1.ListOptions{FieldSelector: match.AsSelector().String()})
	if err != nil || len(list.Items) == 0 {
		return ""
	}
	newest := slices.MaxFunc(list.Items, func(a, b unstructured.Unstructured) int {
		return cmp.Compare(eventTime(a), eventTime(b))
	})
	reason, _, _ := unstructured.NestedString(newest.Object, "reason")
	message, _, _ := unstructured.NestedString(newest.Object, "message")
	return join(reason, message)
}

// eventTime can be compared as text: RFC 3339 in UTC.
func eventTime(u unstructured.Unstructured) string {
	last, _, _ := unstructured.NestedString(u.Object, "lastTimestamp")
	first, _, _ := unstructured.NestedString(u.Object, "eventTime")
	return cmp.Or(last, first)
}
