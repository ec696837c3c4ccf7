package build

import (
	"path/filepath"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/pins"
)

// keepalived carries the virtual IP of control planes that have one. Of the packages that it depends on it needs the libraries
// only; it runs its scripts without a shell.
func keepalived(suite string) debian {
	return debian{
		suite: suite, variant: "extract", packages: []string{"keepalived"},
		prune: append(unused(), "bin", "etc", "home", "lib/systemd", "media", "mnt", "opt", "sbin", "srv", "usr/bin", "usr/games",
			"usr/lib/*/perl*", "usr/lib/mime", "usr/lib/systemd", "usr/lib/usrmerge", "usr/libexec", "usr/local", "usr/sbin/[^k]*",
			"usr/share/[^d]*", "usr/share/d[^o]*", "usr/src", "var"),
		parts: []part{
			{path: "etc/passwd", text: "root:x:0:0:root:/root:/usr/sbin/nologin\n"},
			{path: "etc/group", text: "root:x:0:\n"},
			{path: "tmp", mode: 0o1777}, {path: "run"}, {path: "dev"}, {path: "proc"}, {path: "sys"},
		},
	}
}

// keepalivedUnit is an image that is all Debian.
func keepalivedUnit(c pins.Component) *unit {
	u := debianUnit(c.Name, keepalived(c.Version), func(t tree, dir string) error {
		b := blobs(filepath.Join(dir, "blobs"))
		l, err := b.layer(t)
		if err != nil {
			return err
		}
		d, err := b.image(run{entrypoint: []string{"keepalived"}}.image(), []layer{l})
		if err != nil {
			return err
		}
		return writeDescriptor(dir, d, c, images.KindImage)
	})
	u.inputs = append(u.inputs, c.Ref)
	return u
}
