package images

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/client"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// adopt makes an image of blobs that are in the store: garbage collection sees what belongs together, layers are
// unpacked, and every name is there under which the CRI plugin looks for it.
func adopt(ctx context.Context, c *client.Client, ref string, target v1.Descriptor, labels map[string]string) error {
	store := c.ContentStore()
	here := platforms.Default() // of others there may be none
	children := ctrimages.LimitManifests(ctrimages.FilterPlatforms(ctrimages.ChildrenHandler(store), here), here, 1)
	link := ctrimages.SetChildrenMappedLabels(store, children, ctrimages.ChildGCLabels)
	if err := ctrimages.Dispatch(ctx, link, nil, target); err != nil {
		return fmt.Errorf("label the content of %q: %w", ref, err)
	}
	target.Annotations = nil // of the bundle, not of the image
	img := client.NewImage(c, ctrimages.Image{Name: ref, Target: target})
	done, err := img.IsUnpacked(ctx, snapshotter)
	if err != nil {
		return err
	}
	if !done {
		if err := unpack(ctx, img); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
	}
	return nameImage(ctx, c, img, labels)
}

// unpack tries again where the directory of a layer is there already: a power loss between that directory and the entry in
// containerd's database leaves one, at the next free number. Containerd says so only as text, and has then removed it.
func unpack(ctx context.Context, img client.Image) error {
	err := img.Unpack(ctx, snapshotter)
	if err != nil && strings.Contains(err.Error(), syscall.EEXIST.Error()) {
		return img.Unpack(ctx, snapshotter)
	}
	return err
}

// nameImage writes the names last: who sees the image finds it complete. What is pinned for the cluster stays so when its user
// brings the same image.
func nameImage(ctx context.Context, c *client.Client, img client.Image, labels map[string]string) error {
	config, err := img.Config(ctx)
	if err != nil {
		return err
	}
	fields := []string{"target"}
	for key := range labels {
		fields = append(fields, "labels."+key)
	}
	for _, name := range imageNames(img.Name(), img.Target().Digest.String(), config.Digest.String()) {
		if err := putImage(ctx, c.ImageService(), ctrimages.Image{Name: name, Target: img.Target(), Labels: labels}, fields...); err != nil {
			return fmt.Errorf("name it %q: %w", name, err)
		}
	}
	return nil
}

// imageNames are those that the CRI plugin gives an image, with that of the image itself last.
func imageNames(ref, target, config string) []string {
	names := []string{config, ref}
	if byDigest, ok := digestRef(ref, target); ok {
		names = append([]string{byDigest}, names...)
	}
	return names
}

// putImage makes an image, or changes these fields of one that is there.
func putImage(ctx context.Context, store ctrimages.Store, img ctrimages.Image, fields ...string) error {
	_, err := store.Create(ctx, img)
	if !errdefs.IsAlreadyExists(err) {
		return err
	}
	_, err = store.Update(ctx, img, fields...)
	return err
}

// digestRef is the name by which an image can be asked for with its digest.
func digestRef(name, digest string) (string, bool) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", false
	}
	return reference.TrimNamed(named).String() + "@" + digest, true
}
