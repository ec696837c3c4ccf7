package serviceip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// How soon a Service is looked at again after a failure, at first and at last. A change of it does not wait for that.
const (
	retryFirst = time.Second
	retryLast  = time.Minute
)

// giver is one time of leading.
type giver struct {
	client   kubernetes.Interface
	informer cache.SharedIndexInformer
	queue    workqueue.TypedRateLimitingInterface[string]
	report   func(Event)

	// Those below are of the one goroutine that works.
	pool    *pool
	waiting map[string]string // why, by Service
}

func newGiver(c kubernetes.Interface, addresses netip.Prefix, report func(Event)) *giver {
	return &giver{
		client: c, report: report, pool: newPool(addresses), waiting: map[string]string{},
		informer: coreinformers.NewServiceInformer(c, metav1.NamespaceAll, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](retryFirst, retryLast)),
	}
}

// run works until ctx ends.
func (g *giver) run(ctx context.Context) {
	if err := g.watch(); err != nil {
		g.report(Event{Kind: Trouble, Reason: fmt.Sprintf("prepare to watch Services: %v", err)})
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		<-ctx.Done()
		g.queue.ShutDown()
	})
	running.Go(func() { g.informer.RunWithContext(ctx) })
	// Without all Services, an address might seem to be nobody's.
	if !cache.WaitForCacheSync(ctx.Done(), g.informer.HasSynced) {
		return
	}
	g.adopt()
	for {
		key, ended := g.queue.Get()
		if ended || ctx.Err() != nil {
			return
		}
		if g.settle(ctx, key) {
			g.queue.Forget(key)
		} else {
			g.queue.AddRateLimited(key)
		}
		g.queue.Done(key)
	}
}

func (g *giver) watch() error {
	if err := g.informer.SetTransform(slim); err != nil {
		return err
	}
	err := g.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil && !errors.Is(err, io.EOF) && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			g.report(Event{Kind: Trouble, Reason: fmt.Sprintf("watch Services: %v", err)})
		}
	})
	if err != nil {
		return err
	}
	add := func(obj any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
			g.queue.Add(key)
		}
	}
	_, err = g.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: add, UpdateFunc: func(_, obj any) { add(obj) }, DeleteFunc: add,
	})
	return err
}

// adopt learns what was given before. Should two Services have the same address, it is the older one's.
func (g *giver) adopt() {
	all, err := g.services().List(labels.Everything())
	if err != nil { // never, of a cache
		return
	}
	slices.SortFunc(all, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
	})
	for _, s := range all {
		if a := has(s); a.IsValid() && isOurs(s) {
			_, _ = g.pool.take(keyOf(s), a) // if it cannot have that any more it gets another one
		}
	}
}

func (g *giver) services() corelisters.ServiceLister {
	return corelisters.NewServiceLister(g.informer.GetIndexer())
}

func keyOf(s *corev1.Service) string { return s.Namespace + "/" + s.Name }

// settle gives a Service what it is to have, and says whether that is all there is to do, until something changes.
func (g *giver) settle(ctx context.Context, key string) (done bool) {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return true
	}
	s, err := g.services().Services(namespace).Get(name)
	if err != nil || !isOurs(s) {
		return g.release(ctx, key, s)
	}
	asks, err := wants(s)
	had, a := g.pool.held[key], netip.Addr{}
	if err == nil {
		a, err = g.pool.take(key, asks)
	}
	if err != nil {
		g.wait(ctx, s, err)
		return true // the change of another one brings it back
	}
	delete(g.waiting, key)
	if had.IsValid() && had != a {
		g.tryWaiting()
	}
	return g.write(ctx, s, a)
}

// tryWaiting has those that wait look again, as an address is free.
func (g *giver) tryWaiting() {
	for key := range g.waiting {
		g.queue.Add(key)
	}
}

// release takes the address back from a Service that is gone, nil then, or is not to have one any more.
func (g *giver) release(ctx context.Context, key string, s *corev1.Service) (done bool) {
	delete(g.waiting, key)
	if s != nil && !isLoadBalancer(s) && g.pool.addresses.Contains(has(s)) && !g.write(ctx, s, netip.Addr{}) {
		return false
	}
	if g.pool.release(key) {
		g.report(Event{Kind: Released, Service: key, Reason: "it needs none any more"})
		g.tryWaiting()
	}
	return true
}

// write has the status say the address.
func (g *giver) write(ctx context.Context, s *corev1.Service, a netip.Addr) (done bool) {
	if says(s, a) {
		return true
	}
	data, err := patch(s, a)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, request)
		defer cancel()
		_, err = g.client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, data, metav1.PatchOptions{}, "status")
	}
	switch {
	case err == nil:
		if a.IsValid() {
			g.report(Event{Kind: Given, Service: keyOf(s), Reason: a.String()})
		}
		return true
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err):
		return true // the change that was in the way brings it back
	case ctx.Err() == nil:
		g.report(Event{Kind: Trouble, Service: keyOf(s), Reason: fmt.Sprintf("write its status: %v", err)})
	}
	return false
}

// wait says, once, why a Service has to wait: here, and where `kubectl describe` shows it.
func (g *giver) wait(ctx context.Context, s *corev1.Service, why error) {
	if g.waiting[keyOf(s)] == why.Error() {
		return
	}
	g.waiting[keyOf(s)] = why.Error()
	g.report(Event{Kind: Waiting, Service: keyOf(s), Reason: why.Error()})
	ctx, cancel := context.WithTimeout(ctx, request)
	defer cancel()
	now := metav1.Now()
	_, err := g.client.CoreV1().Events(s.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, GenerateName: s.Name + "."},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Service", Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion,
		},
		Type: corev1.EventTypeWarning, Reason: "NoAddress", Message: why.Error(),
		Source: corev1.EventSource{Component: Lease}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil && ctx.Err() == nil {
		g.report(Event{Kind: Trouble, Service: keyOf(s), Reason: fmt.Sprintf("write why it waits: %v", err)})
	}
}
