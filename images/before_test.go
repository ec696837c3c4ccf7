package images_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/testenv"
)

// inStore is everything that a containerd has for Kubernetes.
func inStore(t *testing.T, c *containerd.Client) (out []string) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	all, err := c.ImageService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		out = append(out, fmt.Sprint("image ", i.Name, i.Target.Digest, i.Labels))
	}
	err = c.ContentStore().Walk(ctx, func(i content.Info) error {
		out = append(out, "blob "+i.Digest.String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		out = append(out, "snapshot "+i.Name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// onlyName leaves one name to an image, and collects the garbage.
func onlyName(t *testing.T, c *containerd.Client, ref string) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	all, err := c.ImageService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Name == ref {
			continue
		}
		if err := c.ImageService().Delete(ctx, i.Name); err != nil {
			t.Fatal(err)
		}
	}
	collect(t, c)
}

// collect has the content go that nothing refers to.
func collect(t *testing.T, c *containerd.Client) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	l, err := c.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.LeasesService().Delete(ctx, l, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
}

// TestPutBack imports images into a containerd in which somebody has given his own one of their names.
func TestPutBack(t *testing.T) {
	b := realBundle(t)
	u := &images.Unpacked{Files: t.TempDir()}
	if err := testenv.NeedBundle(t).Extract("containerd", u.Files); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(runDir(t), "s")
	c := startContainerdAt(t, u, t.TempDir(), socket)
	coredns, err := b.Component("coredns")
	if err != nil {
		t.Fatal(err)
	}
	wantSent(t, nodeStore(t, socket), saved(t, coredns.Ref, imageOf(t, randomLayer(t), randomLayer(t))), 4, 4)
	onlyName(t, c, coredns.Ref)
	before := inStore(t, c)

	if b, err = b.Alias("pause", "sandbox", "registry.test/admins/pause:1"); err != nil {
		t.Fatal(err)
	}
	names := []string{"coredns", "pause", "sandbox"}
	kept, err := b.Keep(t.Context(), socket, names)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Import(t.Context(), socket, names, nil); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{coredns.Ref, "registry.k8s.io/pause:3.10.2", "registry.test/admins/pause:1"} {
		checkImage(t, c, ref)
	}
	if missing, err := b.Missing(t.Context(), socket, names); err != nil || len(missing) > 0 {
		t.Errorf("missing %v, %v", missing, err)
	}
	collect(t, c)

	text, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	var read []images.Before
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	// What somebody has given a name since stays.
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	theirs, err := c.ImageService().Get(ctx, "registry.test/admins/pause:1")
	if err != nil {
		t.Fatal(err)
	}
	theirs.Labels = map[string]string{"io.cri-containerd.image": "managed"} // or the CRI plugin writes names of its own
	for _, was := range kept {
		if was.Name == coredns.Ref {
			theirs.Target = was.Image.Target
		}
	}
	if _, err := c.ImageService().Update(ctx, theirs, "target", "labels"); err != nil {
		t.Fatal(err)
	}
	before = append(before, fmt.Sprint("image ", theirs.Name, theirs.Target.Digest, theirs.Labels))
	slices.Sort(before)
	for range 2 { // the second time everything is as it was
		if err := images.PutBack(t.Context(), socket, read); err != nil {
			t.Fatal(err)
		}
		if after := inStore(t, c); !slices.Equal(after, before) {
			t.Errorf("before: %q\nafter: %q", before, after)
		}
	}
}
