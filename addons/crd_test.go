package addons_test

import (
	"context"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"slipway.dev/slipway/addons"
)

// TestHalfEstablished: an API server that died after it had accepted the names of a definition, and before it served it, does
// not do that when it starts again, until the definition changes.
func TestHalfEstablished(t *testing.T) {
	programs := programsOf(t, "etcd", "kube-apiserver")
	endpoint := launchEtcd(t, programs)
	cfg, _, kill := launchOn(t, programs, endpoint)
	waitHealthy(t, cfg)
	calico := mustRender(t, large())["calico"]
	definition := object(t, calico, "CustomResourceDefinition")
	calico.Objects = []*unstructured.Unstructured{definition}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := addons.Apply(ctx, cfg, calico, nil); err != nil {
		t.Fatal(err)
	}
	kill()
	forgetEstablished(t, endpoint, definition.GetName())
	cfg, _, _ = launchOn(t, programs, endpoint)
	waitHealthy(t, cfg)
	if err := addons.Apply(ctx, cfg, calico, nil); err != nil {
		t.Fatal(err)
	}
	if _, there := current(t, cfg, definition).GetAnnotations()["slipway.dev/nudge"]; there {
		t.Error("a trace of it is left")
	}
}

// forgetEstablished makes a definition in etcd what it was a moment before.
func forgetEstablished(t *testing.T, endpoint, name string) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	key := "/registry/apiextensions.k8s.io/customresourcedefinitions/" + name
	r, err := c.Get(t.Context(), key)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("%v: %d values", err, len(r.Kvs))
	}
	// All else must stay byte for byte, or the next apply would be a change.
	const is, was = `"type":"Established","status":"True"`, `"type":"Established","status":"False"`
	data := strings.Replace(string(r.Kvs[0].Value), is, was, 1)
	if !strings.Contains(data, was) {
		t.Fatalf("no %s in %s", is, data)
	}
	if _, err := c.Put(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
}
