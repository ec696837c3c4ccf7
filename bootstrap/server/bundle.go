package server

import (
	"context"
	"fmt"
	"path/filepath"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
)

// bundlesDir is where what is pulled from a registry lies. It belongs to the node: reset removes what has come.
func bundlesDir() string { return filepath.Join(node.StateDir, "bundles") }

// source is the bundle of a run. One in a registry is not pulled before this host has been looked at: until then only
// what of it is small is here, in a directory that close removes.
type source struct {
	*images.Bundle
	remote *registry.Remote // nil for a directory
	// dir is where the bundle lies, or will.
	dir string
	// from is set for one from a registry.
	from *origin
}

// origin is where a bundle came from, as it is kept: the tag that was given meant this digest then, and goes on to.
type origin struct {
	Asked string `json:"asked"`
	Ref   string `json:"ref"` // by digest
}

func (s *source) close() {
	if s != nil && s.remote != nil {
		s.remote.Close()
	}
}

// open opens the bundle. The fault is bundle-version where it is not of the version that was asked for.
func (h Host) open(ctx context.Context) (*source, error) {
	s, err := h.find(ctx)
	if err != nil || h.wants(s.KubernetesVersion()) {
		return s, err
	}
	s.close()
	return nil, fault.New("bundle-version", fmt.Sprintf("use Kubernetes version %q", h.KubernetesVersion),
		fmt.Errorf("the bundle %q is of %s", h.Bundle, s.KubernetesVersion()), "name another bundle, or leave out one of the two")
}

func (h Host) find(ctx context.Context) (*source, error) {
	if registry.IsRef(h.Bundle) {
		return h.findRemote(ctx, origin{Asked: h.Bundle, Ref: h.Bundle})
	}
	b, err := images.Open(h.Bundle)
	if err != nil {
		return nil, err
	}
	return &source{Bundle: b, dir: b.Dir()}, nil
}

// findRemote needs no registry where the bundle with that digest has been pulled.
func (h Host) findRemote(ctx context.Context, from origin) (*source, error) {
	ref, err := registry.Parse(from.Ref)
	if err != nil {
		return nil, err
	}
	if dir := registry.Dir(bundlesDir(), ref.Digest()); ref.Digest() != "" && registry.Here(dir, ref.Digest(), registry.ForServers) {
		b, err := images.Open(dir)
		return &source{Bundle: b, dir: dir, from: &from}, err
	}
	r, err := registry.Open(ctx, ref, h.Registry)
	if err != nil {
		return nil, err
	}
	from.Ref = r.Ref().String()
	return &source{Bundle: r.Bundle, remote: r, dir: registry.Dir(bundlesDir(), r.Digest()), from: &from}, nil
}

// planned is what a plan says of pull.
func (s *source) planned() []engine.Change {
	if s == nil || s.remote == nil {
		return nil
	}
	var size int64
	for _, d := range s.Blobs(registry.ForServers) {
		size += d.Size
	}
	return []engine.Change{{Step: pullStep, What: []string{fmt.Sprintf("download %s: up to %d MiB, to %s", s.from.Ref, size>>20, s.dir)}}}
}

const pullStep = "pull-bundle"

// pull gets the bundle to this host, if it is not here. How long that takes is up to the network, so nobody's --wait
// counts for it. The journal knows first, so that reset takes it back.
func (s *source) pull(ctx context.Context, host string, report engine.Report) error {
	if s.remote == nil {
		return nil
	}
	return engine.Run(ctx, host, []engine.Step{{
		Name:  pullStep,
		Check: func(context.Context) ([]string, error) { return []string{s.dir}, nil },
		Do: func(ctx context.Context, progress func(string)) error {
			if err := node.Claim(pullStep, bundlesDir()); err != nil {
				return err
			}
			return s.remote.Pull(ctx, s.dir, registry.ForServers, progress)
		},
	}}, report)
}

// open opens the bundle that an earlier run began with, if that came from a registry, whatever its tag means by now.
func (s *state) open(ctx context.Context, h Host) (err error) {
	if s.From != nil && s.source == nil {
		s.source, err = h.findRemote(ctx, *s.From)
	}
	return err
}

// with notes the bundle that the state was made for.
func (s *state) with(b *source) *state {
	s.source, s.From = b, b.from
	return s
}

func (s *state) close() {
	if s != nil {
		s.source.close()
	}
}

func (s *state) pull(ctx context.Context, h Host, report engine.Report) error {
	if err := s.open(ctx, h); err != nil || s.source == nil {
		return err
	}
	return s.source.pull(ctx, s.Spec.Node.Name, report)
}

// began tells whether an earlier run began with the bundle that text names, and says which it was.
func (s *state) began(text string) (asked string, same bool, err error) {
	if !registry.IsRef(text) {
		if text, err = filepath.Abs(text); err != nil {
			return "", false, err
		}
	}
	if s.From == nil {
		return s.Spec.Bundle, text == s.Spec.Bundle, nil
	}
	return s.From.Asked, text == s.From.Asked || text == s.From.Ref || text == s.Spec.Bundle, nil
}
