package addons_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/addons"
)

// told collects what a wait reports.
type told struct {
	mu       sync.Mutex
	messages []string
}

func (r *told) say(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, message)
}

func (r *told) saw(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.messages {
		if strings.Contains(m, text) {
			return true
		}
	}
	return false
}

// player writes the statuses that controllers and kubelets would.
type player struct {
	t   *testing.T
	dyn dynamic.Interface
}

func (p player) status(u *unstructured.Unstructured, status map[string]any) {
	p.t.Helper()
	got, err := p.dyn.Resource(resourceOf(u)).Namespace("kube-system").Get(p.t.Context(), u.GetName(), metav1.GetOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	status["observedGeneration"] = got.GetGeneration()
	got.Object["status"] = status
	_, err = p.dyn.Resource(resourceOf(u)).Namespace("kube-system").UpdateStatus(p.t.Context(), got, metav1.UpdateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
}

func daemonSet(desired, updated, ready int64) map[string]any {
	return map[string]any{
		"desiredNumberScheduled": desired, "currentNumberScheduled": desired, "numberMisscheduled": int64(0),
		"updatedNumberScheduled": updated, "numberReady": ready, "numberAvailable": ready,
	}
}

// create makes an object and gives it its status.
func (p player) create(resource string, content map[string]any) {
	p.t.Helper()
	u := &unstructured.Unstructured{Object: content}
	r := p.dyn.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource}).Namespace("kube-system")
	got, err := r.Create(p.t.Context(), u, metav1.CreateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	if status, ok := content["status"]; ok {
		got.Object["status"] = status
		if _, err := r.UpdateStatus(p.t.Context(), got, metav1.UpdateOptions{}); err != nil {
			p.t.Fatal(err)
		}
	}
}

func stuckPod() map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{
			"name": "calico-node-x", "namespace": "kube-system", "labels": map[string]any{"k8s-app": "calico-node"},
		},
		"spec": map[string]any{
			"nodeName": "node-2",
			// Otherwise the API server wants an account token from a controller that does not run here.
			"automountServiceAccountToken": false,
			"containers":                   []any{map[string]any{"name": "calico-node", "image": "x"}},
		},
		"status": map[string]any{
			"phase": "Pending",
			"containerStatuses": []any{map[string]any{
				"name": "calico-node", "image": "x", "imageID": "", "ready": false, "restartCount": int64(0),
				"state": map[string]any{"waiting": map[string]any{"reason": "ErrImageNeverPull", "message": "not present"}},
			}},
		},
	}
}

func warning() map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "FailedMount", "message": "no such directory",
		"metadata":       map[string]any{"name": "calico-node-x.1", "namespace": "kube-system"},
		"involvedObject": map[string]any{"kind": "Pod", "namespace": "kube-system", "name": "calico-node-x"},
		"lastTimestamp":  "2026-11-21T09:00:00Z",
	}
}

func TestWaitReady(t *testing.T) {
	cfg := startAPIServer(t)
	config := local()
	config.Nodes, config.ControlPlanes = 3, 1
	a := mustRender(t, config)["calico"]
	a.Waits = a.Waits[:1] // calico-node
	node := object(t, a, "DaemonSet")
	if err := addons.Apply(t.Context(), cfg, a, nil); err != nil {
		t.Fatal(err)
	}
	play := player{t, dynamicClient(t, cfg)}
	account(t, play)

	t.Run("a DaemonSet nobody looked at", func(t *testing.T) {
		wantNotReady(t, cfg, a, "calico-node: 0 of 3 ready: the controller manager has not seen it yet")
	})
	t.Run("all registered nodes are not all nodes", func(t *testing.T) {
		play.status(node, daemonSet(1, 1, 1))
		wantNotReady(t, cfg, a, "calico-node: 1 of 3 ready: 1 nodes are registered for it")
	})
	t.Run("pods of the old version do not count", func(t *testing.T) {
		play.status(node, daemonSet(3, 1, 3))
		wantNotReady(t, cfg, a, "calico-node: 1 of 3 ready")
	})
	t.Run("says which pod, why, and the last warning", func(t *testing.T) {
		play.status(node, daemonSet(3, 3, 2))
		play.create("pods", stuckPod())
		play.create("events", warning())
		wantNotReady(t, cfg, a, "calico-node: 2 of 3 ready: pod calico-node-x: on node-2: container calico-node: "+
			"ErrImageNeverPull: not present; last warning: FailedMount: no such directory")
	})
	t.Run("sees the change", func(t *testing.T) { seesChange(t, cfg, a, play, node) })
}

func wantNotReady(t *testing.T, cfg *rest.Config, a addons.Addon, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var r told
	wantFault(t, addons.WaitReady(ctx, cfg, a, r.say), "addon-not-ready", text)
	if said, _, _ := strings.Cut(text, ";"); !r.saw(said) {
		t.Errorf("reported %q, want %q", r.messages, said)
	}
}

func seesChange(t *testing.T, cfg *rest.Config, a addons.Addon, play player, node *unstructured.Unstructured) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var r told
	done := make(chan error, 1)
	go func() { done <- addons.WaitReady(ctx, cfg, a, r.say) }()
	for !r.saw("2 of 3 ready") {
		time.Sleep(10 * time.Millisecond)
		if ctx.Err() != nil {
			t.Fatalf("reported %q", r.messages)
		}
	}
	play.status(node, daemonSet(3, 3, 3))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !r.saw("calico-node: 3 of 3 ready") {
		t.Errorf("reported %q", r.messages)
	}
}

func TestWaitReadyWithoutTheWorkload(t *testing.T) {
	cfg := startAPIServer(t)
	wantNotReady(t, cfg, mustRender(t, local())["coredns"], "coredns: not created yet")
}

// account is what pods are admitted with; its controller does not run here.
func account(t *testing.T, play player) {
	t.Helper()
	play.create("serviceaccounts", map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount",
		"metadata": map[string]any{"name": "default", "namespace": "kube-system"},
	})
}
