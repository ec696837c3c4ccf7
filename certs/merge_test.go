package certs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

func kubeconfig(t *testing.T) []byte {
	t.Helper()
	data, err := authorities(t, certs.ECDSA).AdminKubeconfig(cluster(), "https://198.51.100.2:6443", now())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func foreign(t *testing.T, path string, n int) *api.Config {
	t.Helper()
	c := api.NewConfig()
	for i := range n {
		name := fmt.Sprintf("other-%d", i)
		c.Clusters[name] = &api.Cluster{Server: "https://" + name + ".example", CertificateAuthority: "certs/ca.crt"}
		c.AuthInfos[name] = &api.AuthInfo{Token: name, Impersonate: "me"}
		c.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name, Namespace: "ns-" + name}
	}
	c.CurrentContext = "other-0"
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	return load(t, path)
}

func load(t *testing.T, path string) *api.Config {
	t.Helper()
	c, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMergeLeavesOthersUntouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	before := foreign(t, path, 100)
	if err := certs.MergeKubeconfig(path, "slipway-dev", kubeconfig(t)); err != nil {
		t.Fatal(err)
	}
	merged := load(t, path)
	if merged.CurrentContext != "slipway-dev" || len(merged.Contexts) != 101 {
		t.Errorf("current %q of %d contexts", merged.CurrentContext, len(merged.Contexts))
	}
	if got := merged.Clusters["slipway-dev"].Server; got != "https://198.51.100.2:6443" {
		t.Errorf("server %q", got)
	}
	if info, _ := os.Stat(path); info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := certs.RemoveKubeconfig(path, "slipway-dev"); err != nil {
		t.Fatal(err)
	}
	after := load(t, path)
	after.CurrentContext = before.CurrentContext
	if !reflect.DeepEqual(before, after) {
		t.Error("other entries changed")
	}
}

func TestMergeTwiceReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config")
	for range 2 {
		if err := certs.MergeKubeconfig(path, "slipway-dev", kubeconfig(t)); err != nil {
			t.Fatal(err)
		}
	}
	if c := load(t, path); len(c.Contexts) != 1 || len(c.Clusters) != 1 || len(c.AuthInfos) != 1 {
		t.Errorf("%d contexts", len(c.Contexts))
	}
	if err := certs.RemoveKubeconfig(path, "slipway-dev"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMergeAtTheSameTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	data := kubeconfig(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := certs.MergeKubeconfig(path, fmt.Sprintf("slipway-%d", i), data); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := len(load(t, path).Contexts); got != 8 {
		t.Errorf("%d contexts, want 8", got)
	}
}

func TestUnreadableIsNeverOverwritten(t *testing.T) {
	for name, content := range map[string]string{
		"not YAML": "{ this: [is not", "text": "hello", "another kind": "apiVersion: v1\nkind: Pod\n",
		"binary": "\x00\x01\x02", "wrong type": "apiVersion: v1\nkind: Config\nclusters: 7\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
				t.Fatal(err)
			}
			for op, err := range map[string]error{
				"check": certs.CheckKubeconfig(path), "remove": certs.RemoveKubeconfig(path, "x"),
				"merge": certs.MergeKubeconfig(path, "x", kubeconfig(t)),
			} {
				var f *fault.Error
				if !errors.As(err, &f) || f.ID != "kubeconfig-unreadable" {
					t.Errorf("%s: %v", op, err)
				}
			}
			if got, _ := os.ReadFile(path); string(got) != content {
				t.Errorf("now holds %q", got)
			}
		})
	}
}

func TestFolderIsUnreadable(t *testing.T) {
	var f *fault.Error
	if err := certs.CheckKubeconfig(t.TempDir()); !errors.As(err, &f) || f.ID != "kubeconfig-unreadable" {
		t.Errorf("got %v", err)
	}
}

func TestLinkStaysALink(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "real"), filepath.Join(dir, "config")
	foreign(t, path, 1)
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	if err := certs.MergeKubeconfig(link, "slipway-dev", kubeconfig(t)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	if len(load(t, path).Contexts) != 2 {
		t.Error("the file behind the link was not changed")
	}
}

func TestRemoveLeavesAnotherCurrentContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	foreign(t, path, 2)
	if err := certs.MergeKubeconfig(path, "slipway-dev", kubeconfig(t)); err != nil {
		t.Fatal(err)
	}
	c := load(t, path)
	c.CurrentContext = "other-1"
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing of ours
		if err := certs.RemoveKubeconfig(path, "slipway-dev"); err != nil {
			t.Fatal(err)
		}
		if got := load(t, path).CurrentContext; got != "other-1" {
			t.Errorf("current context is %q", got)
		}
	}
}
