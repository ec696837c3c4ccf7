package addons

import (
	"context"
	"sync"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// mirrors keeps local copies of what the API server has, each by a list and a watch that survive
// lost connections.
type mirrors struct {
	changed chan struct{} // says, without counting, that a copy changed
	running sync.WaitGroup
}

func newMirrors() *mirrors { return &mirrors{changed: make(chan struct{}, 1)} }

// follow copies what r has and match selects until ctx ends; wait returns when all have ended.
func (m *mirrors) follow(ctx context.Context, r dynamic.ResourceInterface, match metav1.ListOptions) cache.Store {
	notify := func() {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
	// Only cmd prints: what goes wrong here is seen by whoever waits, as an old state.
	silent := logr.Discard()
	store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		Logger:        &silent,
		ListerWatcher: listWatch(r, match),
		ObjectType:    &unstructured.Unstructured{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { notify() },
			UpdateFunc: func(any, any) { notify() },
			DeleteFunc: func(any) { notify() },
		},
	})
	ctx = klog.NewContext(ctx, silent)
	m.running.Go(func() { controller.RunWithContext(ctx) })
	return store
}

func (m *mirrors) wait() { m.running.Wait() }

func listWatch(r dynamic.ResourceInterface, match metav1.ListOptions) *cache.ListWatch {
	selected := func(o metav1.ListOptions) metav1.ListOptions {
		o.FieldSelector, o.LabelSelector = match.FieldSelector, match.LabelSelector
		return o
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return r.List(ctx, selected(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return r.Watch(ctx, selected(o))
		},
	}
}
