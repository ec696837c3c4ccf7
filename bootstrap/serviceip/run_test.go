package serviceip_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"slipway.dev/slipway/bootstrap/serviceip"
)

// addresses are four, of which the first is as good as any other.
const addresses = "192.0.2.8/30"

// running is a controller in a bubble of its own: no goroutine may be left when the test ends, and time passes only when
// all of them wait.
type running struct {
	*fake.Clientset

	mu     sync.Mutex
	events []string
}

// inBubble runs a controller on a cluster with these objects, and the test once it has seen them.
func inBubble(t *testing.T, test func(t *testing.T, r *running), objects ...runtime.Object) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &running{Clientset: fake.NewClientset(objects...)}
		stop := r.start(t, "one")
		r.settle()
		test(t, r)
		stop()
	})
}

// start gives the function that ends it.
func (r *running) start(t *testing.T, identity string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serviceip.Run(ctx, r, serviceip.Config{
			Addresses: netip.MustParsePrefix(addresses), Identity: identity, Report: r.note,
		})
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run of %s ended with %v", identity, err)
		}
	}
}

func (r *running) note(e serviceip.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", e.Kind, e.Service, e.Reason)), " "))
}

// settle lets a moment pass that is too short for any retry, but not for client-go, which looks each tenth of a second
// whether its caches are filled.
func (r *running) settle() {
	time.Sleep(300 * time.Millisecond)
	synctest.Wait()
}

func (r *running) said(words string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.events, func(e string) bool { return strings.Contains(e, words) })
}

// want compares the addresses of Services, "-" for none.
func (r *running) want(t *testing.T, want string) {
	t.Helper()
	r.settle()
	list, err := r.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list.Items {
		text := s.Name + "="
		for _, in := range s.Status.LoadBalancer.Ingress {
			text += strings.TrimPrefix(in.IP, "192.0.2.")
			if ptr.Deref(in.IPMode, "") != corev1.LoadBalancerIPModeVIP {
				t.Errorf("%s has the mode %v", s.Name, in.IPMode)
			}
		}
		got = append(got, text)
	}
	slices.Sort(got)
	if s := strings.Join(got, " "); s != want {
		t.Fatalf("got %q, want %q; events %q", s, want, r.events)
	}
}

func (r *running) create(t *testing.T, s *corev1.Service) {
	t.Helper()
	if _, err := r.CoreV1().Services(s.Namespace).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.settle()
}

func (r *running) remove(t *testing.T, name string) {
	t.Helper()
	if err := r.CoreV1().Services("x").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (r *running) change(t *testing.T, name string, change func(*corev1.Service)) {
	t.Helper()
	s, err := r.CoreV1().Services("x").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	change(s)
	if _, err := r.CoreV1().Services("x").Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// service is one of type LoadBalancer; each is a second younger than that before.
func service(name string, changes ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "x", Name: name, UID: types.UID("uid-" + name),
			CreationTimestamp: metav1.Unix(int64(name[0]), 0),
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	for _, c := range changes {
		c(s)
	}
	return s
}

func asks(a string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerIP = a }
}
func class(name string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name }
}

func has(a string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: a, IPMode: ptr.To(corev1.LoadBalancerIPModeVIP)}}
	}
}

func isOther(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }

func TestGives(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		r.want(t, "a=8 b= c= d=9")
		r.create(t, service("e"))
		r.want(t, "a=8 b= c= d=9 e=10")
		r.remove(t, "a")
		r.create(t, service("f"))
		r.want(t, "b= c= d=9 e=10 f=8")
		time.Sleep(time.Hour)
		r.want(t, "b= c= d=9 e=10 f=8")
	}, service("a"), service("b", isOther), service("c", class("example.com/other")), service("d", class(serviceip.Class)))
}

// TestKeeps: what was given before stays, but for what two have, and what is out of the range.
func TestKeeps(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		r.want(t, "a=8 b=11 c=9 d=10 e=198.51.100.9")
	}, service("a"), service("b", has("192.0.2.11")), service("c", has("192.0.2.11")), service("d", has("198.51.100.1")),
		service("e", has("198.51.100.9"), class("example.com/other")))
}

// TestFull: those that find no address wait, and say so, and get one that is released.
func TestFull(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		r.create(t, service("e"))
		r.want(t, "a=8 b=9 c=10 d=11 e=")
		if !r.said("waiting x/e all 4 addresses of 192.0.2.8/30 are in use") {
			t.Errorf("events %q", r.events)
		}
		list, err := r.CoreV1().Events("x").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || list.Items[0].Reason != "NoAddress" || list.Items[0].InvolvedObject.Name != "e" {
			t.Errorf("the cluster has the events %+v, %v", list.Items, err)
		}
		r.remove(t, "b")
		r.want(t, "a=8 c=10 d=11 e=9")
	}, service("a"), service("b"), service("c"), service("d"))
}

func TestAsks(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		r.create(t, service("c", asks("192.0.2.10")))
		r.create(t, service("d", asks("192.0.2.99")))
		r.create(t, service("e", asks("nonsense")))
		r.want(t, "a=10 b=8 c= d= e=")
		for _, words := range []string{"192.0.2.10 is that of Service x/a", "192.0.2.99 is not one of 192.0.2.8/30", "nonsense"} {
			if !r.said(words) {
				t.Errorf("nobody said %q: %q", words, r.events)
			}
		}
		r.change(t, "a", asks("192.0.2.11"))
		r.want(t, "a=11 b=8 c=10 d= e=")
		r.change(t, "d", asks(""))
		r.want(t, "a=11 b=8 c=10 d=9 e=")
		r.change(t, "d", asks("192.0.2.8"))
		r.want(t, "a=11 b=8 c=10 d=9 e=")
	}, service("a", asks("192.0.2.10")), service("b"))
}

// TestChangesType: a Service that is none of its kind any more has no address.
func TestChangesType(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		r.change(t, "a", isOther)
		r.create(t, service("b"))
		r.want(t, "a= b=8")
	}, service("a"))
}

func TestTriesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		failing := 3
		r.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			failing--
			return failing >= 0, nil, errors.New("etcd is away")
		})
		r.create(t, service("a"))
		r.want(t, "a=")
		if !r.said("trouble x/a write its status: etcd is away") {
			t.Errorf("events %q", r.events)
		}
		time.Sleep(time.Minute)
		r.want(t, "a=8")
	})
}

// TestOneWorks: the other one takes over when the first ends, and when it only falls silent, and keeps what was given.
func TestOneWorks(t *testing.T) {
	inBubble(t, func(t *testing.T, r *running) {
		stop := r.start(t, "two")
		defer stop()
		time.Sleep(time.Hour)
		if r.said("leads two") {
			t.Error("both lead")
		}
		r.want(t, "a=8")
		silent := true
		r.PrependReactor("update", "leases", func(a clienttesting.Action) (bool, runtime.Object, error) {
			lease := fmt.Sprint(a.(clienttesting.UpdateAction).GetObject())
			return silent && !strings.Contains(lease, "two"), nil, errors.New("cut off")
		})
		time.Sleep(time.Minute)
		if !r.said("leads two") {
			t.Fatalf("the other one does not lead: %q", r.events)
		}
		silent = false
		r.create(t, service("b"))
		r.want(t, "a=8 b=9")
	}, service("a"))
}
