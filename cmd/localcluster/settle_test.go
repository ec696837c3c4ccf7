package localcluster

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSettled: what the API still says of the time before a machine was started counts for nothing.
func TestSettled(t *testing.T) {
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	s := &settling{Cluster: &Cluster{}, since: map[string]time.Time{"one": start}}
	for _, tt := range []struct {
		name          string
		said, began   time.Duration // after the start
		status        corev1.ConditionStatus
		running, gone bool
		node, pod     bool
	}{
		{"all since", time.Second, time.Second, corev1.ConditionTrue, true, false, true, true},
		{"at the same second", 0, 0, corev1.ConditionTrue, true, false, true, true},
		{"all before", -time.Second, -time.Second, corev1.ConditionTrue, true, false, false, false},
		{"an old container", time.Second, -time.Second, corev1.ConditionTrue, true, false, true, false},
		{"not ready", time.Second, time.Second, corev1.ConditionFalse, true, false, false, false},
		{"a container that ended", time.Second, time.Second, corev1.ConditionTrue, false, false, true, false},
		{"a pod that goes", time.Second, time.Second, corev1.ConditionTrue, true, true, true, false},
	} {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
		n.Status.Conditions = []corev1.NodeCondition{
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(start.Add(time.Hour))},
			{Type: corev1.NodeReady, Status: tt.status, LastHeartbeatTime: metav1.NewTime(start.Add(tt.said))},
		}
		if got := s.saysReady(n); got != tt.node {
			t.Errorf("%s: the node is ready: %v", tt.name, got)
		}
		p := corev1.Pod{Spec: corev1.PodSpec{NodeName: "one"}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: tt.status}}
		p.Status.ContainerStatuses = make([]corev1.ContainerStatus, 1)
		if tt.running {
			p.Status.ContainerStatuses[0].State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(start.Add(tt.began))}
		}
		if tt.gone {
			now := metav1.NewTime(start)
			p.DeletionTimestamp = &now
		}
		if got := s.isBack(p); got != tt.pod {
			t.Errorf("%s: the pod is back: %v", tt.name, got)
		}
	}
}
