package etcd_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/internal/testenv"
)

// TestMoveCluster kills three members right after a write was acknowledged, and starts them all at other addresses: they find each
// other, and have it.
func TestMoveCluster(t *testing.T) {
	programs := t.TempDir()
	if err := testenv.NeedBundle(t).Extract("etcd", programs); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(programs, "usr/local/bin/etcd")
	data := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b"), filepath.Join(t.TempDir(), "c")}
	all := ownURLs(12)
	before, after := all[:6], all[6:]

	kill := startMembers(t, program, data, before)
	c := connect(t, before[:3])
	put(t, c, "key", "acknowledged")
	kill()
	moved := func(u string) (string, error) { return after[slices.Index(before, u)], nil }
	for _, dir := range data {
		if err := etcd.Move(dir, moved); err != nil {
			t.Fatal(err)
		}
	}
	startMembers(t, program, data, after)
	c = connect(t, after[:3])
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := c.Get(ctx, "key")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "acknowledged" {
		t.Fatalf("got %v, %v", r, err)
	}
	put(t, c, "key", "again")
	list, err := c.MemberList(ctx)
	if err != nil || len(list.Members) != 3 {
		t.Fatal(list, err)
	}
	for _, m := range list.Members {
		if !slices.Contains(after[3:], m.PeerURLs[0]) || !slices.Contains(after[:3], m.ClientURLs[0]) {
			t.Errorf("member %q is at %v and %v", m.Name, m.PeerURLs, m.ClientURLs)
		}
	}
}

// ownURLs have a loopback address each, which no other test uses, and a port that is not among those that connections are given:
// they stay free until somebody listens. Another run of this test has others.
func ownURLs(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("http://127.78.%d.%d:23790", os.Getpid()%250, i+1))
	}
	return out
}

// startMembers has the URLs for clients first, then those for members. It gives what kills all.
func startMembers(t *testing.T, program string, data, urls []string) (kill func()) {
	t.Helper()
	var initial []string
	for i := range data {
		initial = append(initial, fmt.Sprintf("m%d=%s", i, urls[3+i]))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all []*exec.Cmd
	for i, dir := range data {
		cmd := exec.CommandContext(ctx, program, fmt.Sprintf("--name=m%d", i), "--data-dir="+dir, "--initial-cluster="+strings.Join(initial, ","),
			"--listen-client-urls="+urls[i], "--advertise-client-urls="+urls[i], "--listen-peer-urls="+urls[3+i],
			"--initial-advertise-peer-urls="+urls[3+i])
		log, err := os.Create(dir + ".log")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	kill = func() {
		cancel()
		for _, cmd := range all {
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	return kill
}

func connect(t *testing.T, urls []string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: urls, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func put(t *testing.T, c *clientv3.Client, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Put(ctx, key, value); err != nil {
		t.Fatal(err)
	}
}
