package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/pins"
)

// debian is a file system from Debian packages. Without a mirror named, mmdebstrap takes Debian's
// own with updates and security, and checks everything against Debian's archive keys.
type debian struct {
	suite    string
	variant  string
	packages []string
	prune    []string
	parts    []part
}

// unused is what no image and no machine reads. Copyright files stay: bundles are handed on.
func unused() []string {
	return []string{
		"dev/*", "boot", "usr/share/doc/*/*.gz", "usr/share/doc/*/README*", "usr/share/doc/*/NEWS*", "usr/share/doc/*/examples",
		"usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian",
		"usr/share/bug", "usr/share/doc-base", "usr/share/gcc", "usr/share/zsh",
		"usr/share/bash-completion", "usr/share/polkit-1", "usr/share/pixmaps", "usr/share/menu", "usr/share/applications",
		"usr/lib/x86_64-linux-gnu/gconv", "usr/lib/aarch64-linux-gnu/gconv", "usr/include",
		"usr/share/i18n", "usr/share/zoneinfo", "var/cache/apt/*", "var/cache/debconf/*-old", "var/cache/ldconfig/*",
		"var/lib/apt/lists/*", "var/lib/dpkg/*-old", "var/log/*", "tmp/*", "run/*",
	}
}

// make runs mmdebstrap and gives the pruned tree; its bytes stay in a tar below dir.
func (d debian) make(ctx context.Context, dir string) (tree, error) {
	raw := filepath.Join(dir, "debian.tar")
	args := []string{"mmdebstrap", "--quiet", "--mode=root", "--variant=" + d.variant,
		"--aptopt=APT::Install-Recommends \"false\"", "--include=" + strings.Join(d.packages, ","), d.suite, raw}
	// In a mount namespace of its own, an interrupted run leaves no mount behind.
	c := command{args: args, private: true, env: []string{"SOURCE_DATE_EPOCH=0", "TMPDIR=" + dir, "LC_ALL=C.UTF-8"}}
	if _, err := c.run(ctx); err != nil {
		return nil, err
	}
	t, err := readTar(raw)
	if err != nil {
		return nil, err
	}
	t.remove(d.prune...)
	for _, p := range d.parts {
		if err := t.part(p, sources{}); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// debianUnit is a unit that packs a Debian tree; the raw tar is dropped once it is packed.
func debianUnit(name string, d debian, pack func(t tree, dir string) error) *unit {
	return &unit{
		name: name, inputs: []string{format, runtime.GOARCH, fmt.Sprintf("%+v", d)}, tools: []string{"mmdebstrap"},
		make: func(ctx context.Context, _ *builder, dir string, _ []string) error {
			t, err := d.make(ctx, dir)
			if err != nil {
				return err
			}
			if err := pack(t, dir); err != nil {
				return err
			}
			return os.Remove(filepath.Join(dir, "debian.tar"))
		},
	}
}

// rootfsUnit is the machine's root file system as a component.
func rootfsUnit(c pins.Component) *unit {
	d := machine(c.Version)
	return debianUnit(c.Name, d, func(t tree, dir string) error {
		l, err := blobs(filepath.Join(dir, "blobs")).layer(t)
		if err != nil {
			return err
		}
		m, err := blobs(filepath.Join(dir, "blobs")).artifact(artifactType(images.KindRootfs), l)
		if err != nil {
			return err
		}
		return writeDescriptor(dir, m, c, images.KindRootfs)
	})
}

// layerFile names the stored layer of a base.
const layerFile = "layer.json"

// userlandUnit is the base layer of kube-proxy and calico-node, with the certificates beside it.
func userlandUnit(suite string) *unit {
	return debianUnit("userland", userland(suite), func(t tree, dir string) error {
		pem, err := trusted(t)
		if err != nil {
			return err
		}
		t.text(certificates, 0o644, string(pem))
		if err := os.WriteFile(filepath.Join(dir, certificatesFile), pem, 0o644); err != nil {
			return err
		}
		l, err := blobs(filepath.Join(dir, "blobs")).layer(t)
		if err != nil {
			return err
		}
		data, err := json.Marshal(l)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, layerFile), data, 0o644)
	})
}

// readLayer reads a base's layer and links its blob into b.
func readLayer(dir string, b blobs) (layer, error) {
	var l layer
	data, err := os.ReadFile(filepath.Join(dir, layerFile))
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, err
	}
	return l, linkOrCopy(blobs(filepath.Join(dir, "blobs")).path(l.Descriptor.Digest), b.path(l.Descriptor.Digest))
}
