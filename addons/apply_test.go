package addons_test

import (
	"context"
	"slices"
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

// Everything about Apply against one API server: starting one is what takes the time.
func TestApply(t *testing.T) {
	cfg, _ := launchAPIServer(t) // not ready yet: Apply has to cope
	waitHealthy(t, cfg)
	rendered := mustRender(t, large())

	if got, err := addons.Differing(t.Context(), cfg, rendered["calico"]); err != nil || len(got) != len(rendered["calico"].Objects) {
		t.Errorf("before anything was applied: %v: %q", err, got)
	}
	began := time.Now()
	applyAll(t, cfg, rendered)
	t.Logf("first apply of all addons: %s", time.Since(began))

	t.Run("the definitions are served", func(t *testing.T) {
		pools := schema.GroupVersionResource{Group: "crd.projectcalico.org", Version: "v1", Resource: "ippools"}
		if _, err := dynamicClient(t, cfg).Resource(pools).List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("again changes nothing", func(t *testing.T) {
		before := versions(t, cfg, rendered)
		began := time.Now()
		applyAll(t, cfg, rendered)
		t.Logf("second apply of all addons: %s", time.Since(began))
		for name, version := range versions(t, cfg, rendered) {
			if version != before[name] {
				t.Errorf("%s was changed from %s to %s", name, before[name], version)
			}
		}
	})
	t.Run("then nothing differs", func(t *testing.T) { wantDiffering(t, cfg, rendered["calico"]) })
	t.Run("takes back what somebody changed", func(t *testing.T) { takesBack(t, cfg, rendered["coredns"]) })
	t.Run("keeps what somebody added", func(t *testing.T) { keepsAdded(t, cfg, rendered["coredns"]) })
	t.Run("names the object that is refused", func(t *testing.T) { refused(t, cfg, rendered["coredns"]) })
	t.Run("applies objects of kinds it has just defined", func(t *testing.T) { ownKinds(t, cfg) })
}

func applyAll(t *testing.T, cfg *rest.Config, rendered map[string]addons.Addon) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for _, a := range rendered {
		all.Go(func() {
			began := time.Now()
			if err := addons.Apply(ctx, cfg, a, nil); err != nil {
				t.Error(err)
			}
			t.Logf("%s: %d objects in %s", a.Name, len(a.Objects), time.Since(began))
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func dynamicClient(t *testing.T, cfg *rest.Config) dynamic.Interface {
	t.Helper()
	c := rest.CopyConfig(cfg)
	c.QPS = -1
	d, err := dynamic.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// resourceOf is enough grammar for the kinds of our addons.
func resourceOf(u *unstructured.Unstructured) schema.GroupVersionResource {
	gvk := u.GroupVersionKind()
	plural := strings.ToLower(gvk.Kind) + "s"
	return gvk.GroupVersion().WithResource(strings.Replace(plural, "policys", "policies", 1))
}

func current(t *testing.T, cfg *rest.Config, u *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	r := dynamicClient(t, cfg).Resource(resourceOf(u)).Namespace(u.GetNamespace())
	got, err := r.Get(t.Context(), u.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatalf("%s/%s: %v", u.GetKind(), u.GetName(), err)
	}
	return got
}

func versions(t *testing.T, cfg *rest.Config, rendered map[string]addons.Addon) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, a := range rendered {
		for _, u := range a.Objects {
			got := current(t, cfg, u)
			out[u.GetKind()+"/"+u.GetName()] = got.GetResourceVersion()
			checkOwner(t, got)
		}
	}
	return out
}

// checkOwner: what Slipway set must be known as set by apply, or a later version cannot remove it.
func checkOwner(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	if u.GetKind() == "ServiceAccount" {
		return // it has no fields, so nobody manages any
	}
	for _, m := range u.GetManagedFields() {
		if m.Manager == "slipway" && m.Operation == metav1.ManagedFieldsOperationApply {
			return
		}
	}
	t.Errorf("%s/%s: not applied by slipway", u.GetKind(), u.GetName())
}

func object(t *testing.T, a addons.Addon, kind string) *unstructured.Unstructured {
	t.Helper()
	for _, u := range a.Objects {
		if u.GetKind() == kind {
			return u.DeepCopy()
		}
	}
	t.Fatalf("no %s in %s", kind, a.Name)
	return nil
}

func wantDiffering(t *testing.T, cfg *rest.Config, a addons.Addon, want ...string) {
	t.Helper()
	if got, err := addons.Differing(t.Context(), cfg, a); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: got %q, want %q", err, got, want)
	}
}

func takesBack(t *testing.T, cfg *rest.Config, a addons.Addon) {
	u := object(t, a, "ConfigMap")
	changed := current(t, cfg, u)
	setField(t, changed, "broken", "data", "Corefile")
	r := dynamicClient(t, cfg).Resource(resourceOf(u)).Namespace(u.GetNamespace())
	if _, err := r.Update(t.Context(), changed, metav1.UpdateOptions{FieldManager: "somebody"}); err != nil {
		t.Fatal(err)
	}
	wantDiffering(t, cfg, a, "ConfigMap/kube-system/coredns: differs in data.Corefile")
	if err := addons.Apply(t.Context(), cfg, a, nil); err != nil {
		t.Fatal(err)
	}
	text, _, _ := unstructured.NestedString(current(t, cfg, u).Object, "data", "Corefile")
	if text == "broken" {
		t.Error("the change is still there")
	}
}

func keepsAdded(t *testing.T, cfg *rest.Config, a addons.Addon) {
	u := object(t, a, "ConfigMap")
	added := current(t, cfg, u)
	setField(t, added, "mine", "data", "extra.override")
	r := dynamicClient(t, cfg).Resource(resourceOf(u)).Namespace(u.GetNamespace())
	if _, err := r.Update(t.Context(), added, metav1.UpdateOptions{FieldManager: "somebody"}); err != nil {
		t.Fatal(err)
	}
	wantDiffering(t, cfg, a)
	if err := addons.Apply(t.Context(), cfg, a, nil); err != nil {
		t.Fatal(err)
	}
	if text, _, _ := unstructured.NestedString(current(t, cfg, u).Object, "data", "extra.override"); text != "mine" {
		t.Error("it is gone")
	}
}

func refused(t *testing.T, cfg *rest.Config, a addons.Addon) {
	u := object(t, a, "Deployment")
	setField(t, u, "Never", "spec", "template", "spec", "restartPolicy")
	a.Objects = []*unstructured.Unstructured{u}
	err := addons.Apply(t.Context(), cfg, a, nil)
	wantFault(t, err, "addon-apply-failed", `apply addon "coredns": Deployment/kube-system/coredns: `)
	if !strings.Contains(err.Error(), "restartPolicy") {
		t.Errorf("the field is not named: %v", err)
	}
}

func ownKinds(t *testing.T, cfg *rest.Config) {
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "boats.test.slipway.dev"},
		"spec": map[string]any{
			"group": "test.slipway.dev", "scope": "Cluster",
			"names": map[string]any{"kind": "Boat", "plural": "boats"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}
	boat := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "test.slipway.dev/v1", "kind": "Boat", "metadata": map[string]any{"name": "one"},
	}}
	a := addons.Addon{Name: "boats", Objects: []*unstructured.Unstructured{boat, definition}}
	if err := addons.Apply(t.Context(), cfg, a, nil); err != nil {
		t.Fatal(err)
	}
	current(t, cfg, boat)
}

func setField(t *testing.T, u *unstructured.Unstructured, value string, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(u.Object, value, path...); err != nil {
		t.Fatal(err)
	}
}

func TestApplyWaitsForAnAPIServerThatIsStarting(t *testing.T) {
	cfg, _ := launchAPIServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := addons.Apply(ctx, cfg, mustRender(t, local())["kube-proxy"], nil); err != nil {
		t.Fatal(err)
	}
}

func TestApplyKeepsTheCauseWhenTimeIsUp(t *testing.T) {
	cfg := &rest.Config{Host: "https://127.0.0.1:1"} // nobody listens there
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := addons.Apply(ctx, cfg, mustRender(t, local())["coredns"], nil)
	wantFault(t, err, "addon-apply-failed", "connection refused")
}
