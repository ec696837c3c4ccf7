package addons

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"slipway.dev/slipway/internal/fault"
)

// WaitReady watches until all workloads of an addon are ready, and reports each change of what it
// waits for. When ctx ends first, the fault says the last state and the last thing that went wrong.
func WaitReady(ctx context.Context, cfg *rest.Config, a Addon, report func(string)) error {
	dyn, err := dynamic.NewForConfig(quick(cfg))
	if err != nil {
		return notReady(a, err)
	}
	w := &waiter{dynamic: dyn, report: report}
	errs := make([]error, len(a.Waits))
	var all sync.WaitGroup
	for i, wait := range a.Waits {
		all.Go(func() { errs[i] = w.one(ctx, a, wait) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return notReady(a, err)
	}
	return nil
}

func notReady(a Addon, err error) error {
	return fault.New("addon-not-ready", fmt.Sprintf("wait for addon %q", a.Name), err,
		"look at its pods: kubectl -n kube-system get pods -o wide; kubectl -n kube-system describe pod NAME")
}

type waiter struct {
	dynamic dynamic.Interface

	mu     sync.Mutex
	report func(string)
}

// one follows one workload and its pods. The ticks only make sure that a state is reported before
// the first change arrives; nothing is asked on them.
func (w *waiter) one(ctx context.Context, a Addon, wait Wait) error {
	selector, err := podSelector(a, wait)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	m := newMirrors()
	defer m.wait()
	defer stop()
	name := fields.OneTermEqualSelector("metadata.name", wait.Name).String()
	workloads := m.follow(watching, w.in(workloadsOf(wait.Kind)), metav1.ListOptions{FieldSelector: name})
	pods := m.follow(watching, w.in(coreResource("pods")), metav1.ListOptions{LabelSelector: selector})
	return w.until(ctx, m.changed, func() progress { return progressOf(wait, listed(workloads), listed(pods)) })
}

func (w *waiter) until(ctx context.Context, changed <-chan struct{}, look func() progress) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := progress{}
	for {
		select {
		case <-ctx.Done():
			return w.gaveUp(ctx, look())
		case <-changed:
		case <-tick.C:
		}
		p := look()
		if p.message != last.message {
			w.say(p.message)
		}
		if last = p; p.done {
			return nil
		}
	}
}

// gaveUp adds the last warning about what is not ready: often only that says why.
func (w *waiter) gaveUp(ctx context.Context, p progress) error {
	err := fmt.Errorf("%s: %w", p.message, context.Cause(ctx))
	if warning := w.lastWarning(context.WithoutCancel(ctx), p.subject); warning != "" {
		err = fmt.Errorf("%s; last warning: %s: %w", p.message, warning, context.Cause(ctx))
	}
	return err
}

func (w *waiter) say(message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.report != nil {
		w.report(message)
	}
}

func (w *waiter) in(r schema.GroupVersionResource) dynamic.ResourceInterface {
	return w.dynamic.Resource(r).Namespace(namespace)
}

// podSelector is the one that the addon's own object has, so that it never has to be kept in two
// places.
func podSelector(a Addon, wait Wait) (string, error) {
	u, err := find(a.Objects, wait.Kind, wait.Name)
	if err != nil {
		return "", err
	}
	match, _, err := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
	if err != nil || len(match) == 0 {
		return "", fmt.Errorf("%s: no spec.selector.matchLabels", describe(u))
	}
	return labels.SelectorFromSet(match).String(), nil
}

func coreResource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: name}
}

func workloadsOf(kind string) schema.GroupVersionResource {
	r := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	if kind == KindDaemonSet {
		r.Resource = "daemonsets"
	}
	return r
}

func listed(store cache.Store) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, obj := range store.List() {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			out = append(out, u)
		}
	}
	return out
}
