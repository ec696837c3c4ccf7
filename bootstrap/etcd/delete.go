package etcd

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// DeleteOthers deletes all keys below prefix but for some, which are given without it.
func (c *Client) DeleteOthers(ctx context.Context, prefix string, keep []string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := c.c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("list %q in etcd: %w", prefix, err)
	}
	for _, kv := range r.Kvs {
		if key := string(kv.Key); !slices.Contains(keep, key[len(prefix):]) {
			if _, err := c.c.Delete(ctx, key); err != nil {
				return fmt.Errorf("delete %q in etcd: %w", key, err)
			}
		}
	}
	return nil
}
