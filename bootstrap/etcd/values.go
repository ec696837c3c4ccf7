package etcd

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Keys lists those that begin so.
func (c *Client) Keys(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := c.c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("list %q in etcd: %w", prefix, err)
	}
	var out []string
	for _, kv := range r.Kvs {
		out = append(out, string(kv.Key))
	}
	return out, nil
}

// Value is that of a key, nil if there is none.
func (c *Client) Value(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := c.c.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read %q in etcd: %w", key, err)
	}
	if len(r.Kvs) == 0 {
		return nil, nil
	}
	return r.Kvs[0].Value, nil
}

// Put sets the value of a key.
func (c *Client) Put(ctx context.Context, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := c.c.Put(ctx, key, string(value)); err != nil {
		return fmt.Errorf("write %q in etcd: %w", key, err)
	}
	return nil
}

// Delete deletes a key, or all below it if it ends with a slash.
func (c *Client) Delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var all []clientv3.OpOption
	if strings.HasSuffix(key, "/") {
		all = append(all, clientv3.WithPrefix())
	}
	if _, err := c.c.Delete(ctx, key, all...); err != nil {
		return fmt.Errorf("delete %q in etcd: %w", key, err)
	}
	return nil
}
