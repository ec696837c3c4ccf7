package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/pins"
)

// format is part of every component's key: raise it when the way of packing changes.
const format = "1"

// descriptorFile is beside the blobs in a component's unit.
const descriptorFile = "descriptor.json"

// sources are the folders that a component is packed from.
type sources struct {
	programs, plugins, userland string
	module                      func() (string, error)
}

// componentUnit packs one component from its recipe.
func (g *graph) componentUnit(c pins.Component, r recipe) *unit {
	u := &unit{name: c.Name, inputs: []string{format, runtime.GOARCH, fmt.Sprintf("%+v %+v", c, r)}}
	at := map[string]int{}
	need := func(what string, n *unit) {
		if n != nil {
			at[what] = len(u.needs)
			u.needs = append(u.needs, n)
		}
	}
	if r.uses(func(p part) bool { return p.binary != "" && !strings.Contains(p.binary, "/") }) {
		need("programs", g.programs(c))
	}
	if r.uses(func(p part) bool { return strings.HasPrefix(p.binary, "cni-plugins/") }) {
		need("plugins", g.byUpstream["cni-plugins"])
	}
	if r.base || r.certs {
		need("userland", g.userland)
	}
	if r.uses(func(p part) bool { return p.module != "" }) {
		u.tools = []string{"go"}
	}
	u.make = func(ctx context.Context, b *builder, dir string, needs []string) error {
		s := sources{module: func() (string, error) { return b.moduleDir(ctx, g.upstream(c)) }}
		for what, to := range map[string]*string{"programs": &s.programs, "plugins": &s.plugins, "userland": &s.userland} {
			if i, ok := at[what]; ok {
				*to = needs[i]
			}
		}
		return r.pack(c, s, dir)
	}
	return u
}

func (r recipe) uses(match func(part) bool) bool {
	for _, p := range r.parts {
		if match(p) {
			return true
		}
	}
	return false
}

// pack writes the component's blobs and descriptor into dir.
func (r recipe) pack(c pins.Component, s sources, dir string) error {
	t, err := r.tree(s)
	if err != nil {
		return err
	}
	b := blobs(filepath.Join(dir, "blobs"))
	own, err := b.layer(t)
	if err != nil {
		return err
	}
	var d v1.Descriptor
	if r.kind == images.KindImage {
		d, err = r.packImage(b, own, s)
	} else {
		d, err = b.artifact(artifactType(r.kind), own)
	}
	if err != nil {
		return err
	}
	return writeDescriptor(dir, d, c, r.kind)
}

func (r recipe) packImage(b blobs, own layer, s sources) (v1.Descriptor, error) {
	layers := []layer{own}
	if r.base {
		base, err := readLayer(s.userland, b)
		if err != nil {
			return v1.Descriptor{}, err
		}
		layers = []layer{base, own}
	}
	return b.image(r.image.image(), layers)
}

func (r run) image() v1.Image {
	created := time.Unix(0, 0).UTC()
	return v1.Image{Created: &created, Platform: v1.Platform{Architecture: runtime.GOARCH, OS: "linux"}, Config: r.config()}
}

func (r run) config() v1.ImageConfig {
	env := r.env
	if len(env) == 0 || !strings.HasPrefix(env[0], "PATH=") {
		env = append([]string{search}, env...)
	}
	return v1.ImageConfig{User: r.user, Env: env, Entrypoint: r.entrypoint, Cmd: r.cmd, WorkingDir: r.dir}
}

func artifactType(kind string) string { return "application/vnd.slipway." + kind + ".v1" }

func writeDescriptor(dir string, d v1.Descriptor, c pins.Component, kind string) error {
	d.Annotations = map[string]string{
		images.AnnotationComponent: c.Name, images.AnnotationVersion: c.Version, images.AnnotationKind: kind,
	}
	if kind == images.KindImage {
		d.Annotations[v1.AnnotationRefName] = c.Ref
		d.Platform = &v1.Platform{Architecture: runtime.GOARCH, OS: "linux"}
	}
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, descriptorFile), data, 0o644)
}
