package addons_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"slipway.dev/slipway/addons"
	"slipway.dev/slipway/bootstrap/serviceip"
)

// TestServiceAddresses runs the controller that gives Services their addresses, twice, on a real API server, and with the
// permissions that the addon gives it and no others.
func TestServiceAddresses(t *testing.T) {
	admin := startAPIServer(t)
	cfg := local()
	cfg.LoadBalancers = netip.MustParsePrefix("192.0.2.192/30")
	if err := addons.Apply(t.Context(), admin, mustRender(t, cfg)["slipway-controllers"], nil); err != nil {
		t.Fatal(err)
	}
	s := &services{client: clientFor(t, admin)}
	s.run(t, admin, cfg.LoadBalancers, "one")
	s.run(t, admin, cfg.LoadBalancers, "two")
	for _, name := range []string{"a", "b"} {
		s.create(t, name, "")
	}
	s.want(t, "a=192.0.2.192 b=192.0.2.193")
	s.create(t, "c", "192.0.2.99")
	s.wantEvent(t, "c", "192.0.2.99 is not one of 192.0.2.192/30")
	if err := s.client.CoreV1().Services("default").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.change(t, "b", `{"spec":{"type":"ClusterIP"}}`)
	s.change(t, "c", `{"spec":{"loadBalancerIP":"192.0.2.195"}}`)
	s.want(t, "b= c=192.0.2.195")
	s.create(t, "d", "")
	s.want(t, "b= c=192.0.2.195 d=192.0.2.192")
	s.change(t, "d", `{"metadata":{"labels":{"touched":"true"}}}`)
	s.want(t, "b= c=192.0.2.195 d=192.0.2.192")
	s.check(t)
}

// services are those of the test, and what the controllers say of them.
type services struct {
	client kubernetes.Interface

	mu     sync.Mutex
	events []serviceip.Event
}

func clientFor(t *testing.T, cfg *rest.Config) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *services) run(t *testing.T, admin *rest.Config, addresses netip.Prefix, identity string) {
	t.Helper()
	cfg := rest.CopyConfig(admin)
	const account = "system:serviceaccount:kube-system:slipway-controllers"
	cfg.Impersonate = rest.ImpersonationConfig{UserName: account, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	client := clientFor(t, cfg)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serviceip.Run(ctx, client, serviceip.Config{Addresses: addresses, Identity: identity, Report: s.note})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (s *services) note(e serviceip.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// check wants one to have worked, without trouble.
func (s *services) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	leads := 0
	for _, e := range s.events {
		if e.Kind == serviceip.Leads {
			leads++
		}
		if e.Kind == serviceip.Trouble {
			t.Errorf("trouble: %+v", e)
		}
	}
	if leads != 1 {
		t.Errorf("%d worked: %+v", leads, s.events)
	}
}

func (s *services) create(t *testing.T, name, asks string) {
	t.Helper()
	_, err := s.client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, LoadBalancerIP: asks, Ports: []corev1.ServicePort{{Port: 80}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *services) change(t *testing.T, name, patch string) {
	t.Helper()
	_, err := s.client.CoreV1().Services("default").Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// want waits until the Services, but for the API server's own, have these addresses.
func (s *services) want(t *testing.T, want string) {
	t.Helper()
	s.wait(t, func() (string, bool) {
		list, err := s.client.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err.Error(), false
		}
		var got []string
		for i := range list.Items {
			one := &list.Items[i]
			text := one.Name + "="
			for _, in := range one.Status.LoadBalancer.Ingress {
				text += in.IP
				if ptr.Deref(in.IPMode, "") != corev1.LoadBalancerIPModeVIP {
					t.Errorf("%s has the mode %v", one.Name, in.IPMode)
				}
			}
			if one.Name != "kubernetes" {
				got = append(got, text)
			}
		}
		slices.Sort(got)
		return fmt.Sprintf("got %q, want %q", got, want), strings.Join(got, " ") == want
	})
}

func (s *services) wantEvent(t *testing.T, name, message string) {
	t.Helper()
	s.wait(t, func() (string, bool) {
		list, err := s.client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
		if err != nil {
			return err.Error(), false
		}
		ok := slices.ContainsFunc(list.Items, func(e corev1.Event) bool { return e.Reason == "NoAddress" && e.Message == message })
		return fmt.Sprintf("events %+v", list.Items), ok
	})
}

func (s *services) wait(t *testing.T, done func() (string, bool)) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		why, ok := done()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("%s; the controllers say %+v", why, s.events)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
