package addons

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// Differing says what Apply would change, a line for each object that is missing or has other fields. It changes nothing:
// the API server applies each object for a try, so that defaults and what others have added are no differences.
func Differing(ctx context.Context, cfg *rest.Config, a Addon) ([]string, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var out []string
	err = each(ctx, atOnce, a.Objects, func(ctx context.Context, u *unstructured.Unstructured) error {
		how, err := c.differing(ctx, u)
		if err != nil {
			return fmt.Errorf("%s: %w", describe(u), err)
		}
		if how != "" {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, describe(u)+": "+how)
		}
		return nil
	})
	slices.Sort(out)
	return out, err
}

// differing is empty for an object that Apply would leave as it is.
func (c *client) differing(ctx context.Context, u *unstructured.Unstructured) (string, error) {
	const missing = "not there"
	r, err := c.resource(ctx, u)
	if meta.IsNoMatchError(err) {
		return missing, nil
	}
	if err != nil {
		return "", err
	}
	there, err := r.Get(ctx, u.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return missing, nil
	}
	if err != nil {
		return "", err
	}
	try := metav1.ApplyOptions{FieldManager: fieldManager, Force: true, DryRun: []string{metav1.DryRunAll}}
	tried, err := r.Apply(ctx, u.GetName(), u, try)
	if err != nil {
		return "", err
	}
	if fields := differingFields("", content(there), content(tried)); len(fields) > 0 {
		return "differs in " + strings.Join(fields, ", "), nil
	}
	return "", nil
}

// content is an object without what the API server alone keeps, and without its status.
func content(u *unstructured.Unstructured) map[string]any {
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	delete(u.Object, "status")
	return u.Object
}

// differingFields gives the paths of the fields in which two objects differ. A list counts as a whole.
func differingFields(path string, x, y any) []string {
	one, isMap := x.(map[string]any)
	other, bothMaps := y.(map[string]any)
	if !isMap || !bothMaps {
		if reflect.DeepEqual(x, y) {
			return nil
		}
		return []string{strings.TrimPrefix(path, ".")}
	}
	keys := maps.Clone(one)
	maps.Copy(keys, other)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		out = append(out, differingFields(path+"."+key, one[key], other[key])...)
	}
	return out
}

// Unready says what WaitReady would wait for at this moment, a line for each workload that is not ready.
func Unready(ctx context.Context, cfg *rest.Config, a Addon) ([]string, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, wait := range a.Waits {
		p, err := c.progress(ctx, a, wait)
		if err != nil {
			return nil, err
		}
		if !p.done {
			out = append(out, p.message)
		}
	}
	return out, nil
}

func (c *client) progress(ctx context.Context, a Addon, wait Wait) (progress, error) {
	selector, err := podSelector(a, wait)
	if err != nil {
		return progress{}, err
	}
	var workloads []*unstructured.Unstructured
	u, err := c.dynamic.Resource(workloadsOf(wait.Kind)).Namespace(namespace).Get(ctx, wait.Name, metav1.GetOptions{})
	switch {
	case err == nil:
		workloads = append(workloads, u)
	case !apierrors.IsNotFound(err):
		return progress{}, err
	}
	list, err := c.dynamic.Resource(coreResource("pods")).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return progress{}, err
	}
	pods := make([]*unstructured.Unstructured, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return progressOf(wait, workloads, pods), nil
}
