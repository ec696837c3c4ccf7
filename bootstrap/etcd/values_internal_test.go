package etcd

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// deletions keeps what was to be deleted last.
type deletions struct {
	clientv3.KV
	last clientv3.Op
}

func (d *deletions) Delete(_ context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	d.last = clientv3.OpDelete(key, opts...)
	return &clientv3.DeleteResponse{}, nil
}

// TestDelete wants a key's neighbours to stay, whose names may begin with its own.
func TestDelete(t *testing.T) {
	var kv deletions
	c := &Client{c: &clientv3.Client{KV: &kv}}
	for key, end := range map[string]string{"/registry/masterleases/": "/registry/masterleases0", "/registry/x/default/kubernetes": ""} {
		if err := c.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if got := string(kv.last.RangeBytes()); got != end || string(kv.last.KeyBytes()) != key {
			t.Errorf("%s: deletes up to %q, want %q", key, got, end)
		}
	}
}
