package invite_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"slipway.dev/slipway/internal/fault"
)

// newCluster is client-go's own fake, with what an API server does to Secrets: each gets a UID, stringData becomes
// data, and a list is only of the type that was asked for.
func newCluster(t *testing.T, objects ...runtime.Object) *fake.Clientset {
	t.Helper()
	c := fake.NewClientset(objects...)
	encode := func(action clienttesting.Action) (bool, runtime.Object, error) {
		o := action.(clienttesting.CreateAction).GetObject().(*corev1.Secret)
		for k, v := range o.StringData {
			if o.Data == nil {
				o.Data = map[string][]byte{}
			}
			o.Data[k] = []byte(v)
		}
		o.UID, o.StringData = types.UID("of "+o.Name), nil
		return false, nil, nil // go on
	}
	c.PrependReactor("create", "secrets", encode)
	c.PrependReactor("update", "secrets", encode)
	c.PrependReactor("list", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		list := action.(clienttesting.ListActionImpl)
		got, err := c.Tracker().List(list.GetResource(), list.GetKind(), list.GetNamespace())
		if err != nil {
			return true, nil, err
		}
		all := got.(*corev1.SecretList)
		out := &corev1.SecretList{}
		for _, s := range all.Items {
			if list.GetListRestrictions().Fields.Matches(fieldsOf{"type": string(s.Type)}) {
				out.Items = append(out.Items, s)
			}
		}
		return true, out, nil
	})
	return c
}

type fieldsOf map[string]string

func (f fieldsOf) Has(field string) bool   { _, ok := f[field]; return ok }
func (f fieldsOf) Get(field string) string { return f[field] }

// wantFaults wants exactly these faults, in order.
func wantFaults(t *testing.T, err error, ids ...string) {
	t.Helper()
	var got []string
	for _, f := range fault.All(err) {
		got = append(got, f.ID)
	}
	if len(got) != len(ids) {
		t.Fatalf("got faults %q (%v), want %q", got, err, ids)
	}
	for i := range ids {
		if got[i] != ids[i] {
			t.Errorf("got fault %q, want %q", got[i], ids[i])
		}
	}
}
