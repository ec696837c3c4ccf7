package localcluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"slipway.dev/slipway/bootstrap"
)

// TestSettleWithoutUnfinished: nodes that are half in the cluster are not waited for, nor are their pods.
func TestSettleWithoutUnfinished(t *testing.T) {
	c := &Cluster{}
	c.Nodes = []bootstrap.Node{{Name: "whole"}, {Name: "going"}}
	c.Joining, c.Going = []bootstrap.Node{{Name: "joining"}}, []string{"going"}
	on := func(node string, ready bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: node, Namespace: "x", Labels: map[string]string{"app": "d"}}}
		p.Spec.NodeName = node
		if ready {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		return p
	}
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "x"}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "d"}}
	set.Status.DesiredNumberScheduled = 3
	for _, tt := range []struct {
		objects []runtime.Object
		want    []string
	}{
		{[]runtime.Object{set, on("whole", true), on("going", false), on("joining", false)}, nil},
		{[]runtime.Object{set, on("whole", true), on("going", true), on("joining", true)}, nil},
		{[]runtime.Object{set, on("whole", false), on("going", true), on("joining", true)}, []string{"daemonset x/d (0 of 1)"}},
		{[]runtime.Object{set, on("going", false), on("joining", false)}, []string{"daemonset x/d (0 of 1)"}},
	} {
		s := &settling{Cluster: c, client: fake.NewClientset(tt.objects...), since: map[string]time.Time{}}
		if got := s.unready(t.Context()); !slices.Equal(got, tt.want) {
			t.Errorf("pods: waits for %q, want %q", got, tt.want)
		}
		if got := s.notReady(t.Context()); !slices.Equal(got, []string{"node whole"}) {
			t.Errorf("nodes: waits for %q", got)
		}
	}
}

func TestUnfinished(t *testing.T) {
	c := halfGrown(t)
	if got := c.Unfinished(); len(got) != 1 || !strings.Contains(got[0], "`slipway node add half --count 2`") ||
		!strings.Contains(got[0], "`slipway node remove half half-worker-1`") {
		t.Errorf("while two are joining: %q", got)
	}
	c.Nodes, c.Joining = append(c.Nodes, c.Joining...), nil
	n := c.Nodes[1]
	for range 2 { // it may be run again
		if err := c.goesNow(n); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Open(c.dirs, "half")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Unfinished(); len(got) != 1 || !strings.Contains(got[0], "`slipway node remove half half-worker-1`") || c.whole(n.Name) {
		t.Errorf("while one is going: %q", got)
	}
	if err := c.goes(n); err != nil {
		t.Fatal(err)
	}
	if got := c.Unfinished(); len(got) != 1 || !strings.Contains(got[0], "its machine is there yet") || len(c.Going) > 0 {
		t.Errorf("when it is out: %q", got)
	}
	c.Leaving = nil
	if got := c.Unfinished(); got != nil {
		t.Errorf("when all is done: %q", got)
	}
}
