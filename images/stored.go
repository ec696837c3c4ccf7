package images

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/images/archive"
)

// Stored is one name of an image that a node has.
type Stored struct {
	Name   string        // the tag; of an image that has none, NAME@DIGEST or the identifier
	ID     string        // digest of its configuration
	Digest digest.Digest // of what the name stands for: a manifest or an index
	Size   int64         // of its blobs, compressed
	Pinned bool          // it is part of the cluster itself
	target v1.Descriptor
}

// List gives the images that the node has, by name.
func (s *NodeStore) List(ctx context.Context) ([]Stored, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	records, err := s.c.ImageService().List(ctx)
	if err != nil {
		return nil, s.failed(ctx, "", err)
	}
	names := map[digest.Digest][]string{}
	for _, r := range records {
		names[r.Target.Digest] = append(names[r.Target.Digest], r.Name)
	}
	var out []Stored
	for _, r := range records {
		all := names[r.Target.Digest]
		if !slices.Contains(shown(all), r.Name) {
			continue
		}
		size, err := r.Size(ctx, s.c.ContentStore(), platforms.Default())
		if err != nil && !errdefs.IsNotFound(err) { // of an image without its blobs only the size is not known
			return nil, s.failed(ctx, "", fmt.Errorf("look at image %q: %w", r.Name, err))
		}
		i := Stored{Name: r.Name, Digest: r.Target.Digest, Size: size, Pinned: r.Labels[labelPinned] == "pinned", target: r.Target}
		if at := slices.IndexFunc(all, isID); at >= 0 {
			i.ID = all[at]
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Stored) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// shown gives those names of an image that a list shows: its tags, and only where there are none, another.
func shown(names []string) []string {
	tags := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return isID(n) || strings.Contains(n, "@") })
	if len(tags) > 0 {
		return tags
	}
	return []string{slices.MaxFunc(names, func(a, b string) int { return strings.Index(a, "@") - strings.Index(b, "@") })}
}

func isID(name string) bool { return strings.HasPrefix(name, digest.Canonical.String()+":") }

// Is tells whether the reference is one of the image's: its name, in full or as one types it, or its identifier.
func (i Stored) Is(ref string) bool {
	if i.Name == ref || i.ID == ref {
		return true
	}
	full, err := archive.FullName(ref)
	return err == nil && i.Name == full
}

// Remove takes a name away from an image, and with its last tag the image. By its identifier it goes with all names.
func (s *NodeStore) Remove(ctx context.Context, i Stored, ref string) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	store := s.c.ImageService()
	records, err := store.List(ctx)
	if err != nil {
		return s.failed(ctx, "", err)
	}
	var all, tags []string
	for _, r := range records {
		if r.Target.Digest != i.Digest {
			continue
		}
		all = append(all, r.Name)
		if !isID(r.Name) && !strings.Contains(r.Name, "@") {
			tags = append(tags, r.Name)
		}
	}
	going := []string{i.Name}
	if left := slices.DeleteFunc(tags, func(n string) bool { return n == i.Name }); len(left) == 0 || ref == i.ID {
		going = all
	}
	for at, name := range going {
		how := []ctrimages.DeleteOpt{ctrimages.DeleteTarget(&i.target)} // if the name stands for something else by now, it stays
		if at == len(going)-1 {
			how = append(how, ctrimages.SynchronousDelete()) // the layers are gone when this returns
		}
		if err := ignoreNotFound(store.Delete(ctx, name, how...)); err != nil {
			return s.failed(ctx, "", fmt.Errorf("remove image %q: %w", name, err))
		}
	}
	return nil
}

// Users gives the pods, as namespace/name, whose containers run from the image.
func (s *NodeStore) Users(ctx context.Context, i Stored) ([]string, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	out, err := s.users(ctx, i)
	if err != nil {
		return nil, s.failed(ctx, "", fmt.Errorf("look for the users of image %q: %w", i.Name, err))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (s *NodeStore) users(ctx context.Context, i Stored) ([]string, error) {
	layers, err := client.NewImage(s.c, ctrimages.Image{Name: i.Name, Target: i.target}).RootFS(ctx)
	if err != nil {
		return nil, err
	}
	running, err := s.running(ctx)
	if err != nil {
		return nil, err
	}
	containers, err := s.c.ContainerService().List(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range containers {
		if !running[c.ID] {
			continue
		}
		// Names may stand for something else by now: what a container runs from is below its own file system.
		info, err := s.c.SnapshotService(c.Snapshotter).Stat(ctx, c.SnapshotKey)
		if err == nil && info.Parent == identity.ChainID(layers).String() {
			out = append(out, c.Labels["io.kubernetes.pod.namespace"]+"/"+c.Labels["io.kubernetes.pod.name"])
		}
	}
	return out, nil
}

func (s *NodeStore) running(ctx context.Context) (map[string]bool, error) {
	list, err := s.c.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, t := range list.Tasks {
		out[t.ID] = t.Status != task.Status_STOPPED
	}
	return out, nil
}
