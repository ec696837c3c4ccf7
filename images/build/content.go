package build

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"slipway.dev/slipway/images"
)

// tree gathers what the recipe lists.
func (r recipe) tree(s sources) (tree, error) {
	t := tree{}
	if r.kind == images.KindImage && !r.base {
		t.folder("tmp", 0o1777)
	}
	for _, p := range r.parts {
		if err := t.part(p, s); err != nil {
			return nil, fmt.Errorf("add %q: %w", p.path, err)
		}
	}
	if r.certs {
		return t, t.addFile(certificates, filepath.Join(s.userland, certificatesFile), 0o644)
	}
	return t, nil
}

func (t tree) part(p part, s sources) error {
	switch {
	case p.binary != "":
		file := filepath.Join(s.programs, p.binary)
		if name, ok := strings.CutPrefix(p.binary, "cni-plugins/"); ok {
			file = filepath.Join(s.plugins, name)
		}
		return t.addFile(p.path, file, p.modeOr(0o755))
	case p.text != "" || p.blank:
		t.text(p.path, p.modeOr(0o644), p.text)
	case p.link != "":
		t.symlink(p.path, p.link)
	case p.hard != "":
		t.hardlink(p.path, p.hard)
	case p.module != "":
		return t.fromModule(p, s)
	default:
		t.folder(p.path, p.modeOr(0o755))
	}
	return nil
}

func (t tree) addFile(name, file string, mode int64) error {
	if _, err := os.Stat(file); err != nil {
		return err
	}
	t.add(name, &entry{kind: tar.TypeReg, mode: mode, file: file})
	return nil
}

// fromModule adds a file, or all files below a folder, of the upstream's source.
func (t tree) fromModule(p part, s sources) error {
	module, err := s.module()
	if err != nil {
		return err
	}
	root := filepath.Join(module, p.module)
	return filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		below, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		return t.addFile(path.Join(p.path, filepath.ToSlash(below)), file, p.modeOr(0o644))
	})
}
