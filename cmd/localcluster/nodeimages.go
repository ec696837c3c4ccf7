package localcluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	ocidigest "github.com/opencontainers/go-digest"

	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// nodeStore is the images of one node, the at'th of the cluster.
type nodeStore struct {
	*images.NodeStore
	node string
	at   int
}

type nodeStores []*nodeStore

// nodeStores reaches the containerd of every node, or says which ones do not run.
func (c *Cluster) nodeStores(ctx context.Context) (nodeStores, error) {
	var out nodeStores
	var errs []error
	for i, n := range c.Nodes {
		m, err := c.Machine(ctx, n.Name)
		if err == nil {
			var s *nodeStore
			if s, err = openStore(m, i); err == nil {
				out = append(out, s)
			}
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		out.close()
		return nil, err
	}
	return out, nil
}

func openStore(m *local.Machine, at int) (*nodeStore, error) {
	s, err := images.OpenNodeStore(cri.Socket, func(ctx context.Context) (net.Conn, error) { return m.DialUnix(ctx, cri.Socket) })
	return &nodeStore{s, m.Name(), at}, fault.On(m.Name(), err)
}

func (s nodeStores) close() {
	for _, n := range s {
		n.Close()
	}
}

// each does something with all of them at the same time. One that fails does not stop the others.
func (s nodeStores) each(do func(*nodeStore) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(s))
	for i, n := range s {
		all.Go(func() { errs[i] = fault.On(n.node, do(n)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// NodeImage is a name of an image, which nodes have it, and which lack it.
type NodeImage struct {
	Name    string   `json:"name"`
	ID      string   `json:"id"`
	Digest  string   `json:"digest"`
	Size    int64    `json:"size"` // compressed
	Cluster bool     `json:"cluster,omitempty"`
	Nodes   []string `json:"nodes"`
	Lacking []string `json:"lacking,omitempty"`
	stored  images.Stored
	ref     string // by which it was asked for
}

// Images lists what the nodes have. A name that stands for different images on different nodes is there several times.
func (c *Cluster) Images(ctx context.Context) ([]NodeImage, error) {
	stores, err := c.nodeStores(ctx)
	if err != nil {
		return nil, err
	}
	defer stores.close()
	return stores.images(ctx)
}

func (s nodeStores) images(ctx context.Context) ([]NodeImage, error) {
	lists := make([][]images.Stored, len(s))
	if err := s.each(func(n *nodeStore) (err error) {
		lists[n.at], err = n.List(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	type key struct {
		name string
		of   ocidigest.Digest
	}
	found := map[key]*NodeImage{}
	for at, list := range lists {
		for _, i := range list {
			k := key{i.Name, i.Digest}
			if found[k] == nil {
				found[k] = &NodeImage{Name: i.Name, ID: i.ID, Digest: i.Digest.String(), Size: i.Size, Cluster: i.Pinned, stored: i}
			}
			found[k].Nodes = append(found[k].Nodes, s[at].node)
		}
	}
	out := make([]NodeImage, 0, len(found))
	for _, i := range found {
		for _, n := range s {
			if !slices.Contains(i.Nodes, n.node) {
				i.Lacking = append(i.Lacking, n.node)
			}
		}
		out = append(out, *i)
	}
	slices.SortFunc(out, func(a, b NodeImage) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest)) })
	return out, nil
}

// RemoveImages takes images from all nodes that have them, once all of them can go. What belongs to the cluster stays, and so does
// what a container runs from, unless force is set.
func (c *Cluster) RemoveImages(ctx context.Context, refs []string, force bool) ([]NodeImage, error) {
	stores, err := c.nodeStores(ctx)
	if err != nil {
		return nil, err
	}
	defer stores.close()
	all, err := stores.images(ctx)
	if err != nil {
		return nil, err
	}
	var out []NodeImage
	var errs []error
	for _, ref := range refs {
		found, err := c.find("remove", all, ref)
		for i, image := range found {
			found[i].ref = ref
			err = errors.Join(err, stores.removable(ctx, image, force))
		}
		out = append(out, found...)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, stores.each(func(n *nodeStore) error {
		for _, i := range out {
			if !slices.Contains(i.Nodes, n.node) {
				continue
			}
			if err := n.Remove(ctx, i.stored, i.ref); err != nil {
				return err
			}
		}
		return nil
	})
}

// find gives those that the reference means.
func (c *Cluster) find(what string, all []NodeImage, ref string) (out []NodeImage, err error) {
	for _, i := range all {
		if i.stored.Is(ref) {
			out = append(out, i)
		}
	}
	if len(out) == 0 {
		err = fault.New("image-unknown", fmt.Sprintf("%s image %q", what, ref), errors.New("no node has it"),
			"see `slipway images list "+c.Name()+"`")
	}
	return out, err
}

func (s nodeStores) removable(ctx context.Context, i NodeImage, force bool) error {
	refuse := func(why, next string) error {
		return fault.New("image-in-use", fmt.Sprintf("remove image %q", i.Name), errors.New(why), next)
	}
	if i.Cluster {
		return refuse("it is part of the cluster itself", "leave it where it is")
	}
	if force {
		return nil
	}
	return s.each(func(n *nodeStore) error {
		if !slices.Contains(i.Nodes, n.node) {
			return nil
		}
		pods, err := n.Users(ctx, i.stored)
		if err == nil && len(pods) > 0 {
			err = refuse("these pods run from it: "+strings.Join(pods, ", "), "delete them first, or use --force")
		}
		return err
	})
}

// SaveImages writes images that nodes have as an OCI archive.
func (c *Cluster) SaveImages(ctx context.Context, refs []string, w io.Writer) error {
	stores, err := c.nodeStores(ctx)
	if err != nil {
		return err
	}
	defer stores.close()
	all, err := stores.images(ctx)
	if err != nil {
		return err
	}
	var list []images.Stored
	var errs []error
	for _, ref := range refs {
		found, err := c.find("save", all, ref)
		if len(found) > 1 {
			err = fault.New("image-ambiguous", fmt.Sprintf("save image %q", ref),
				fmt.Errorf("%s has %s, and %s has %s", found[0].Nodes[0], found[0].Digest, found[1].Nodes[0], found[1].Digest),
				"load the right one into all nodes first, or name one of them")
		}
		errs = append(errs, err)
		for _, i := range found {
			list = append(list, i.stored)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	from := make([]*images.NodeStore, 0, len(stores))
	for _, s := range stores {
		from = append(from, s.NodeStore)
	}
	if err := images.Save(ctx, w, from, list); err != nil && ctx.Err() == nil {
		return fault.New("image-not-saved", fmt.Sprintf("save images of cluster %q", c.Name()), err,
			"see that the nodes run and that there is room for the file, then run the command again")
	}
	return ctx.Err()
}
