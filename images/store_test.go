package images_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/testenv"
)

const metadata = "io.containerd.metadata.v1.bolt/meta.db"

// TestStore unpacks the real bundle once and looks at everything that is made of it.
func TestStore(t *testing.T) {
	b := realBundle(t)
	store := t.TempDir()
	u, err := b.Unpack(t.Context(), store, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	t.Run("directories", func(t *testing.T) { checkUnpacked(t, b, u) })
	t.Run("once", func(t *testing.T) { checkOnce(t, b, store, u) })
	t.Run("clone", func(t *testing.T) { checkClone(t, b, u) })
	t.Run("import", func(t *testing.T) { checkImport(t, b, u) })
}

// realBundle gives the bundle of the default version; tests that need it say so where there is none.
func realBundle(t *testing.T) *images.Bundle {
	t.Helper()
	if os.Geteuid() != 0 {
		testenv.Lacks(t, "needs root")
	}
	b, err := images.Open(string(testenv.NeedBundle(t)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkUnpacked(t *testing.T, b *images.Bundle, u *images.Unpacked) {
	for _, file := range []string{
		filepath.Join(u.Rootfs, "usr/bin/systemctl"), filepath.Join(u.Files, "usr/local/sbin/runc"),
		filepath.Join(u.Files, "opt/cni/bin/loopback"), filepath.Join(u.Containerd, metadata),
	} {
		if _, err := os.Lstat(file); err != nil {
			t.Error(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(u.Files, "usr/local/bin/kubelet"), "--version").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "Kubernetes "+b.KubernetesVersion() {
		t.Errorf("kubelet says %q: %v", out, err)
	}
	for _, c := range b.Components() {
		if c.Kind != images.KindFiles && c.Name != images.Plugin {
			continue
		}
		want := c.Name != "kubeadm"
		if ok, err := b.Installed(c.Name, u.Files); err != nil || ok != want {
			t.Errorf("%s is installed: %v, %v; want %v", c.Name, ok, err, want)
		}
	}
}

func checkOnce(t *testing.T, b *images.Bundle, store string, first *images.Unpacked) {
	again, err := b.Unpack(t.Context(), store, func(line string) { t.Errorf("unpacked again: %s", line) })
	if err != nil {
		t.Fatal(err)
	}
	if *again != *first {
		t.Errorf("%v, then %v", first, again)
	}
	entries, err := os.ReadDir(store)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), "tmp") {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

func checkClone(t *testing.T, b *images.Bundle, u *images.Unpacked) {
	dst := filepath.Join(filepath.Dir(u.Containerd), "..", "clone", "containerd")
	began := time.Now()
	if err := u.CloneContainerd(dst); err != nil {
		t.Fatal(err)
	}
	t.Logf("cloned in %v", time.Since(began).Round(time.Millisecond))
	before, err := os.ReadFile(filepath.Join(u.Containerd, metadata))
	if err != nil {
		t.Fatal(err)
	}
	c := startContainerd(t, u, dst)
	for _, p := range b.Components() {
		if p.Kind == images.KindImage && p.Name != images.Plugin {
			checkImage(t, c, p.Ref)
		}
	}
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	if err := c.ImageService().Delete(ctx, "registry.k8s.io/pause:3.10.2"); err != nil {
		t.Error(err)
	}
	after, err := os.ReadFile(filepath.Join(u.Containerd, metadata))
	if err != nil || string(after) != string(before) {
		t.Errorf("a machine changed the store that all share: %v", err)
	}
}

// checkImage wants an image as the CRI plugin would have pulled it, and pinned.
func checkImage(t *testing.T, c *containerd.Client, ref string) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	i, err := c.GetImage(ctx, ref)
	if err != nil {
		t.Error(err)
		return
	}
	l := i.Labels()
	if l["io.cri-containerd.image"] != "managed" || l["io.cri-containerd.pinned"] != "pinned" {
		t.Errorf("%s has the labels %v", ref, l)
	}
	if ok, err := i.IsUnpacked(ctx, "overlayfs"); err != nil || !ok {
		t.Errorf("%s is unpacked: %v, %v", ref, ok, err)
	}
	config, err := i.Config(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := c.GetImage(ctx, config.Digest.String()); err != nil {
		t.Errorf("%s by its identifier: %v", ref, err)
	}
}

func checkImport(t *testing.T, b *images.Bundle, u *images.Unpacked) {
	socket := filepath.Join(runDir(t), "s")
	root := t.TempDir()
	c := startContainerdAt(t, u, root, socket)
	// What a power loss leaves between the directory of a layer and its entry in the database.
	if err := os.MkdirAll(filepath.Join(root, "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time everything is there
		if err := b.Import(t.Context(), socket, []string{"pause", "coredns"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	all, err := c.ImageService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if strings.Contains(i.Name, "kube-") {
			t.Errorf("%s was not asked for", i.Name)
		}
	}
	checkImage(t, c, "registry.k8s.io/pause:3.10.2")
	if err := b.Import(t.Context(), socket, []string{"kubelet"}, nil); err == nil {
		t.Error("kubelet, which is no image, was imported")
	}
}
