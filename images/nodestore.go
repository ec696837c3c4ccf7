package images

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"

	"slipway.dev/slipway/images/archive"
	"slipway.dev/slipway/internal/fault"
)

// NodeStore is the images that one node has, in its containerd.
type NodeStore struct {
	socket string
	c      *client.Client
}

// OpenNodeStore is for a containerd that listens at socket and is reached by dial, which may be nil where it is on this host. It
// is first asked for when something is asked of it.
func OpenNodeStore(socket string, dial func(context.Context) (net.Conn, error)) (*NodeStore, error) {
	var how []client.Opt
	if dial != nil {
		to := func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }
		how = append(how, client.WithExtraDialOpts([]grpc.DialOption{grpc.WithContextDialer(to)}))
	}
	c, err := connect(socket, how...)
	if err != nil {
		return nil, err
	}
	return &NodeStore{socket: socket, c: c}, nil
}

// Close ends the connection.
func (s *NodeStore) Close() error { return s.c.Close() }

// Serving tells whether containerd is there and ready.
func (s *NodeStore) Serving(ctx context.Context) bool {
	ok, err := s.c.IsServing(ctx)
	return ok && err == nil
}

// Sent says what a node was sent of the blobs that images consist of.
type Sent struct {
	Blobs int   `json:"blobs"`
	Sent  int   `json:"sent"`
	Bytes int64 `json:"bytes"` // of those that were sent
}

// Lacking gives the blobs of these images that the node does not have.
func (s *NodeStore) Lacking(ctx context.Context, list []archive.Image) (map[digest.Digest]bool, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	out := map[digest.Digest]bool{}
	for _, i := range list {
		for _, d := range i.Blobs {
			has, err := s.has(ctx, d)
			if err != nil {
				return nil, unreachable(s.socket, err)
			}
			if !has {
				out[d.Digest] = true
			}
		}
	}
	return out, nil
}

// has looks for a blob. Under a lease, one that is there stays there until that is released, also if it belongs to nothing.
func (s *NodeStore) has(ctx context.Context, d v1.Descriptor) (bool, error) {
	if lease, ok := leases.FromContext(ctx); ok {
		hold := leases.Resource{ID: d.Digest.String(), Type: "content"}
		if err := s.c.LeasesService().AddResource(ctx, leases.Lease{ID: lease}, hold); err != nil {
			return false, err
		}
	}
	info, err := s.c.ContentStore().Info(ctx, d.Digest)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil && info.Size == d.Size, err
}

// Load puts images into the node's containerd, unpacked, and sends those blobs that it lacks. An image gets its name when all
// of it is there; what was sent of one that never did is soon collected.
func (s *NodeStore) Load(ctx context.Context, list []archive.Image, report func(string)) (Sent, error) {
	var sent Sent
	ctx, release, err := s.c.WithLease(namespaces.WithNamespace(ctx, namespace))
	if err != nil {
		return sent, s.failed(ctx, "", err)
	}
	defer release(context.WithoutCancel(ctx)) //nolint:errcheck // containerd drops a lease by itself a day later
	for _, i := range list {
		if err := s.checkName(ctx, i); err != nil {
			return sent, err
		}
	}
	seen := map[digest.Digest]bool{}
	for _, i := range list {
		for _, d := range slices.Backward(i.Blobs) { // then all that a manifest names is there before it
			if seen[d.Digest] {
				continue
			}
			seen[d.Digest] = true
			if err := s.send(ctx, i, d, &sent); err != nil {
				return sent, s.failed(ctx, i.Name, err)
			}
		}
	}
	for _, i := range list {
		if err := adopt(ctx, s.c, i.Name, i.Target, map[string]string{labelManaged: "managed"}); err != nil {
			return sent, s.failed(ctx, i.Name, err)
		}
		say(report, "loaded "+i.Name)
	}
	return sent, nil
}

// checkName refuses another image in the place of one that is part of the cluster: its pods would run from that at their next start.
func (s *NodeStore) checkName(ctx context.Context, i archive.Image) error {
	have, err := s.c.ImageService().Get(ctx, i.Name)
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case err != nil:
		return s.failed(ctx, "", err)
	case have.Labels[labelPinned] == "pinned" && have.Target.Digest != i.Target.Digest:
		return fault.New("image-in-use", fmt.Sprintf("load image %q", i.Name),
			errors.New("an image of that name is part of the cluster itself"), "give yours another name")
	}
	return nil
}

func (s *NodeStore) send(ctx context.Context, i archive.Image, d v1.Descriptor, sent *Sent) error {
	sent.Blobs++
	if has, err := s.has(ctx, d); has || err != nil {
		return err
	}
	r, err := i.Open(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close()
	store, ref := s.c.ContentStore(), "slipway-"+d.Digest.String()
	err = content.WriteBlob(ctx, store, ref, content.NewReader(r), d) // containerd checks the digest
	switch {
	case errdefs.IsAlreadyExists(err): // somebody else was faster
		return nil
	case err != nil && ctx.Err() == nil: // or what is wrong with what it has would stay wrong
		return errors.Join(err, ignoreNotFound(store.Abort(ctx, ref)))
	case err == nil:
		sent.Sent++
		sent.Bytes += d.Size
	}
	return err
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// failed keeps a containerd that went away apart from one that could not take the image.
func (s *NodeStore) failed(ctx context.Context, name string, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errdefs.IsUnavailable(err), name == "":
		return unreachable(s.socket, err)
	}
	return fault.New("image-import-failed", fmt.Sprintf("import image %q", name), err,
		"look at containerd's log and the free disk space, then run the command again")
}
