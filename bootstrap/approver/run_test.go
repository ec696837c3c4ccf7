package approver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"slipway.dev/slipway/bootstrap/approver"
)

// running is an approver in a bubble of its own: no goroutine may be left when the test ends, and time passes only when
// all of them wait.
type running struct {
	*fake.Clientset
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	events []approver.Event
}

// inBubble runs an approver on a cluster with these objects, and the test once it has seen them.
func inBubble(t *testing.T, test func(t *testing.T, r *running), prepare func(*fake.Clientset), objects ...runtime.Object) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &running{Clientset: fake.NewClientset(objects...), cancel: cancel, ended: make(chan error, 1)}
		if prepare != nil {
			prepare(r.Clientset)
		}
		go func() { r.ended <- approver.Run(ctx, r, nil, r.note) }()
		r.settle()
		test(t, r)
		cancel()
		if err := <-r.ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func (r *running) note(e approver.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// settle lets a moment pass that is too short for any retry, but not for client-go, which looks each tenth of a second
// whether its caches are filled.
func (r *running) settle() {
	time.Sleep(300 * time.Millisecond)
	synctest.Wait()
}

// wantEvents compares kinds, requests and nodes, and gives the events.
func (r *running) wantEvents(t *testing.T, want ...string) []approver.Event {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []string
	for _, e := range r.events {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Kind, e.Request, e.Node)))
		if e.Reason == "" {
			t.Errorf("no reason: %+v", e)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got events %+v, want %q", r.events, want)
	}
	return slices.Clone(r.events)
}

// wantCondition gives the message of the only condition.
func (r *running) wantCondition(t *testing.T, request string, kind certificatesv1.RequestConditionType, reason string) string {
	t.Helper()
	got, err := r.CertificatesV1().CertificateSigningRequests().Get(t.Context(), request, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := got.Status.Conditions
	if len(c) != 1 || c[0].Type != kind || c[0].Status != corev1.ConditionTrue || c[0].Reason != reason {
		t.Fatalf("%s has the conditions %+v, want %s by %s", request, c, kind, reason)
	}
	return c[0].Message
}

func (r *running) ask(t *testing.T, c *certificatesv1.CertificateSigningRequest) {
	t.Helper()
	if _, err := r.CertificatesV1().CertificateSigningRequests().Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.settle()
}

func TestApproves(t *testing.T) {
	there, later := worker1().request(t, newKey(t)), worker1().request(t, newKey(t))
	later.Name = "csr-2"
	inBubble(t, func(t *testing.T, r *running) {
		e := r.wantEvents(t, "approved csr-1 worker-1")
		if m := r.wantCondition(t, "csr-1", certificatesv1.CertificateApproved, "SlipwayApproved"); m != e[0].Reason {
			t.Errorf("the condition says %q, the event %q", m, e[0].Reason)
		}
		r.ask(t, later)
		r.wantEvents(t, "approved csr-1 worker-1", "approved csr-2 worker-1")
		r.wantCondition(t, "csr-2", certificatesv1.CertificateApproved, approver.ReasonApproved)
	}, nil, there, worker1Node(), controlPlaneNode(), apiService())
}

func TestDenies(t *testing.T) {
	bad := worker1()
	bad.ips = append(bad.ips, "192.0.2.1")
	inBubble(t, func(t *testing.T, r *running) {
		r.ask(t, bad.request(t, newKey(t)))
		e := r.wantEvents(t, "denied csr-1 worker-1")
		m := r.wantCondition(t, "csr-1", certificatesv1.CertificateDenied, "SlipwayDenied")
		if m != e[0].Reason || !strings.Contains(m, "192.0.2.1 belongs to Node cp-1") {
			t.Errorf("the condition says %q, the event %q", m, e[0].Reason)
		}
		time.Sleep(time.Hour)
		r.wantEvents(t, "denied csr-1 worker-1")
	}, nil, worker1Node(), controlPlaneNode(), apiService())
}

// TestWaitsForNode holds that a request is judged as soon as its Node changes, and that waiting is reported once a reason.
func TestWaitsForNode(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		time.Sleep(time.Hour) // retries become rare
		r.wantEvents(t, "waiting csr-1 worker-1")
		if _, err := r.CoreV1().Nodes().Create(t.Context(), node("worker-1"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.settle()
		e := r.wantEvents(t, "waiting csr-1 worker-1", "waiting csr-1 worker-1")
		if !strings.Contains(e[0].Reason, "exist") || !strings.Contains(e[1].Reason, "192.0.2.11") {
			t.Errorf("the reasons are %q and %q", e[0].Reason, e[1].Reason)
		}
		time.Sleep(time.Hour)
		if _, err := r.CoreV1().Nodes().UpdateStatus(t.Context(), worker1Node(), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.settle()
		r.wantEvents(t, "waiting csr-1 worker-1", "waiting csr-1 worker-1", "approved csr-1 worker-1")
		r.wantCondition(t, "csr-1", certificatesv1.CertificateApproved, approver.ReasonApproved)
	}, nil, worker1().request(t, newKey(t)), controlPlaneNode(), apiService())
}

// TestTriesAgain holds that what nothing announces is found by itself: here the Service, whose changes are not acted on.
func TestTriesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		r.wantEvents(t, "waiting csr-1 worker-1")
		if _, err := r.CoreV1().Services("default").Create(t.Context(), apiService(), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		r.wantEvents(t, "waiting csr-1 worker-1", "approved csr-1 worker-1")
	}, nil, worker1().request(t, newKey(t)), worker1Node(), controlPlaneNode())
}

// failUpdates has the first n updates of approvals fail.
func failUpdates(n int, err error) func(*fake.Clientset) {
	return func(c *fake.Clientset) {
		c.PrependReactor("update", "certificatesigningrequests", func(a clienttesting.Action) (bool, runtime.Object, error) {
			n--
			return n >= 0 && a.GetSubresource() == "approval", nil, err
		})
	}
}

func TestSomebodyElseWasFirst(t *testing.T) {
	resource := schema.GroupResource{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}
	for name, err := range map[string]error{
		"conflict": apierrors.NewConflict(resource, "csr-1", errors.New("changed")),
		"gone":     apierrors.NewNotFound(resource, "csr-1"),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *running) {
				time.Sleep(time.Hour)
				r.wantEvents(t)
				// Not decided after all: the change that was in the way brings it back.
				c := worker1().request(t, newKey(t))
				c.Labels = map[string]string{"touched": "true"}
				if _, err := r.CertificatesV1().CertificateSigningRequests().Update(t.Context(), c, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				r.settle()
				r.wantEvents(t, "approved csr-1 worker-1")
			}, failUpdates(1, err), worker1().request(t, newKey(t)), worker1Node(), apiService())
		})
	}
}

func TestUpdateFails(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		e := r.wantEvents(t, "trouble csr-1 worker-1")
		if !strings.Contains(e[0].Reason, "etcd is away") {
			t.Errorf("the reason is %q", e[0].Reason)
		}
		time.Sleep(time.Hour)
		r.wantEvents(t, "trouble csr-1 worker-1", "approved csr-1 worker-1")
		r.wantCondition(t, "csr-1", certificatesv1.CertificateApproved, approver.ReasonApproved)
	}, failUpdates(3, errors.New("etcd is away")), worker1().request(t, newKey(t)), worker1Node(), apiService())
}

// TestBlind holds that nothing is approved as long as the Nodes cannot be read, that it is said, and that Run still ends.
func TestBlind(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.events) == 0 {
			t.Fatal("nothing was said")
		}
		for _, e := range r.events {
			if e.Kind != approver.Trouble || !strings.Contains(e.Reason, "watch nodes") || !strings.Contains(e.Reason, "not allowed") {
				t.Errorf("got event %+v", e)
			}
		}
	}, func(c *fake.Clientset) {
		c.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("not allowed"))
		})
	}, worker1().request(t, newKey(t)), worker1Node(), apiService())
}

// TestSelections holds that the approver reads no more than its permissions allow. (The fake gives all objects anyway.)
func TestSelections(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		want := map[string]string{
			"certificatesigningrequests ": "spec.signerName=kubernetes.io/kubelet-serving",
			"services default":            "metadata.name=kubernetes",
			"nodes ":                      "",
		}
		for _, a := range r.Actions() {
			var fields string
			switch a := a.(type) {
			case clienttesting.ListAction:
				fields = a.GetListRestrictions().Fields.String()
			case clienttesting.WatchAction:
				fields = a.GetWatchRestrictions().Fields.String()
			default:
				t.Errorf("unexpected: %v", a)
				continue
			}
			key := a.GetResource().Resource + " " + a.GetNamespace()
			if w, ok := want[key]; !ok || fields != w {
				t.Errorf("%s %s with %q", a.GetVerb(), key, fields)
			}
		}
		if len(r.Actions()) != 2*len(want) {
			t.Errorf("want a list and a watch of each, got %v", r.Actions())
		}
	}, nil)
}

// TestSeveral holds that replicas do not get into each other's way: each request is decided once, and nothing else is said.
func TestSeveral(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		ctx, cancel := context.WithCancel(t.Context())
		other := make(chan error, 1)
		go func() { other <- approver.Run(ctx, r, nil, r.note) }()
		r.settle()
		var want []string
		for i := range 20 {
			c := worker1().request(t, newKey(t))
			c.Name = fmt.Sprintf("csr-%d", i)
			r.ask(t, c)
			want = append(want, "approved "+c.Name+" worker-1")
		}
		time.Sleep(time.Hour)
		r.wantEvents(t, want...)
		cancel()
		if err := <-other; err != nil {
			t.Error(err)
		}
	}, refuseSecond, worker1Node(), apiService())
}

// refuseSecond has the fake refuse changes of what was changed, which it does not by itself.
func refuseSecond(c *fake.Clientset) {
	resource := certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
	var one sync.Mutex
	decided := map[string]bool{}
	c.PrependReactor("update", resource.Resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		one.Lock()
		defer one.Unlock()
		update, ok := a.(clienttesting.UpdateAction)
		if !ok {
			return false, nil, nil
		}
		name := update.GetObject().(metav1.Object).GetName()
		if decided[name] {
			return true, nil, apierrors.NewConflict(resource.GroupResource(), name, errors.New("changed"))
		}
		decided[name] = true
		return false, nil, nil
	})
}

// lingering is a watch that takes its time to stop.
type lingering struct {
	*watch.FakeWatcher
}

func (l lingering) Stop() {
	time.Sleep(time.Second)
	l.FakeWatcher.Stop()
}

// TestEndsWhole holds that Run does not return while anything of it still works. That nothing is left for ever, each test holds.
func TestEndsWhole(t *testing.T) {
	var mu sync.Mutex
	var watches []lingering
	inBubble(t, func(t *testing.T, r *running) {
		r.cancel()
		err := <-r.ended
		r.ended <- err
		mu.Lock()
		defer mu.Unlock()
		if len(watches) != 3 {
			t.Errorf("%d watches began", len(watches))
		}
		for _, w := range watches {
			if !w.IsStopped() {
				t.Error("a watch goes on")
			}
		}
	}, func(c *fake.Clientset) {
		c.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) {
			mu.Lock()
			defer mu.Unlock()
			w := lingering{watch.NewFake()}
			watches = append(watches, w)
			return true, w, nil
		})
	})
}

// TestEndsEarly holds that Run ends also before it has read anything, and leaves nothing behind.
func TestEndsEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := approver.Run(ctx, fake.NewClientset(), nil, func(e approver.Event) { t.Errorf("got event %+v", e) }); err != nil {
			t.Error(err)
		}
	})
}
