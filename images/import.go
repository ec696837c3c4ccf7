package images

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/internal/fault"
)

// Where Kubernetes looks for images, and what its side of containerd marks them with.
const (
	namespace    = "k8s.io"
	snapshotter  = "overlayfs"
	labelManaged = "io.cri-containerd.image"
	labelPinned  = "io.cri-containerd.pinned"
)

// Import puts images of the bundle, all if names is empty, into the containerd behind socket, unpacked. What is
// there already is neither sent nor unpacked again. They are pinned: the kubelet does not clean them away.
func (b *Bundle) Import(ctx context.Context, socket string, names []string, report func(string)) error {
	parts, c, err := b.choose(socket, names)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, release, err := c.WithLease(namespaces.WithNamespace(ctx, namespace))
	if err != nil {
		return unreachable(socket, err)
	}
	defer release(context.WithoutCancel(ctx)) //nolint:errcheck // containerd drops a lease by itself a day later
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for _, group := range byFirstLayer(parts) {
		g.Go(func() error { return b.importGroup(ctx, c, group, report) })
	}
	return g.Wait()
}

// choose gives the images of these names, all if there are none, and the containerd behind socket, which the caller closes.
func (b *Bundle) choose(socket string, names []string) ([]part, *client.Client, error) {
	parts, err := b.imageParts(names)
	if err != nil {
		return nil, nil, err
	}
	c, err := connect(socket)
	return parts, c, err
}

func connect(socket string, how ...client.Opt) (*client.Client, error) {
	c, err := client.New(socket, how...)
	if err != nil {
		return nil, unreachable(socket, err)
	}
	return c, nil
}

func unreachable(socket string, err error) error {
	return fault.New("containerd-unreachable", fmt.Sprintf("reach containerd at %q", socket), err,
		"start containerd, or look into its log for why it does not run")
}

func (b *Bundle) imageParts(names []string) ([]part, error) {
	if len(names) == 0 {
		names = b.names(KindImage)
	}
	out := make([]part, 0, len(names))
	for _, name := range names {
		p, err := b.partOf(name, KindImage)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// byFirstLayer puts images that share a layer behind one another, so that it is sent and unpacked once. The groups
// with the most bytes come first, as the last one decides when all is done.
func byFirstLayer(parts []part) [][]part {
	at := map[string]int{}
	var groups [][]part
	for _, p := range parts {
		key := p.Digest
		if len(p.manifest.Layers) > 0 {
			key = p.manifest.Layers[0].Digest.String()
		}
		if i, ok := at[key]; ok {
			groups[i] = append(groups[i], p)
			continue
		}
		at[key] = len(groups)
		groups = append(groups, []part{p})
	}
	slices.SortStableFunc(groups, func(x, y []part) int { return int(weight(y) - weight(x)) })
	return groups
}

func weight(parts []part) (total int64) {
	for _, p := range parts {
		total += p.Size
	}
	return total
}

func (b *Bundle) importGroup(ctx context.Context, c *client.Client, group []part, report func(string)) error {
	for _, p := range group {
		if err := b.importImage(ctx, c, p); err != nil {
			if len(fault.All(err)) > 0 || ctx.Err() != nil {
				return err
			}
			return fault.New("image-import-failed", fmt.Sprintf("import image %q", p.Ref), err,
				"look at containerd's log and the free disk space, then run the command again")
		}
		say(report, "imported "+p.Ref)
	}
	return nil
}

func (b *Bundle) importImage(ctx context.Context, c *client.Client, p part) error {
	store := c.ContentStore()
	for _, d := range slices.Backward(p.blobs()) { // the manifest last: then all that it names is there
		if err := b.send(ctx, store, p, d); err != nil {
			return err
		}
	}
	labels := map[string]string{labelManaged: "managed", labelPinned: "pinned"}
	return adopt(ctx, c, p.Ref, p.descriptor, labels)
}

// send copies a blob that the store lacks; containerd checks the digest before it keeps it.
func (b *Bundle) send(ctx context.Context, store content.Store, p part, d v1.Descriptor) error {
	if info, err := store.Info(ctx, d.Digest); err == nil && info.Size == d.Size {
		return nil
	}
	r, err := b.open(d)
	if err != nil {
		return b.damaged(p, d, err)
	}
	defer r.Close()
	err = content.WriteBlob(ctx, store, "slipway-"+d.Digest.String(), r, d)
	if err == nil || errdefs.IsAlreadyExists(err) {
		return nil
	}
	if bad := r.finish(); bad != nil {
		return b.damaged(p, d, bad)
	}
	return fmt.Errorf("send blob %s: %w", d.Digest, err)
}
