package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"slipway.dev/slipway/images/build"
	"slipway.dev/slipway/images/pins"
)

// update makes the module files anew in a work folder.
type update struct {
	set           pins.Set
	old           pins.Upstream
	version, work string
	released      string
}

func (u *update) run(ctx context.Context) error {
	if out, err := u.golang(ctx, "env", "GOSUMDB"); err != nil || strings.TrimSpace(out) == "off" {
		return errors.Join(err, errors.New("the checksum database is switched off (GOSUMDB); pins are made with it only"))
	}
	before, err := u.parse(filepath.Join(folder, u.old.Name+".mod"))
	if err != nil {
		return err
	}
	theirs, err := u.theirs(ctx)
	if err != nil {
		return err
	}
	after, err := u.next(before, theirs)
	if err != nil {
		return err
	}
	if err := u.write(after); err != nil {
		return err
	}
	if err := u.complete(ctx); err != nil {
		return err
	}
	return errors.Join(u.keep("go.mod", ".mod"), u.keep("go.sum", ".sum"))
}

// theirs reads the go.mod of the version that is wanted.
func (u *update) theirs(ctx context.Context) (*modfile.File, error) {
	out, err := u.golang(ctx, "mod", "download", "-json", u.old.Module+"@"+u.version)
	if err != nil {
		return nil, err
	}
	var info struct{ GoMod, Info string }
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		return nil, err
	}
	var release struct{ Time string }
	data, err := os.ReadFile(info.Info)
	if err == nil {
		err = json.Unmarshal(data, &release)
	}
	u.released = release.Time
	if err != nil {
		return nil, err
	}
	return u.parse(info.GoMod)
}

func (u *update) parse(file string) (*modfile.File, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return modfile.Parse(file, data, nil)
}

// next keeps what was required directly, at the new version where it moved with the upstream, and
// takes over upstream's replacements, which do not count in a module that only requires it.
func (u *update) next(before, theirs *modfile.File) (*modfile.File, error) {
	f := &modfile.File{}
	err := errors.Join(f.AddModuleStmt(before.Module.Mod.Path), f.AddGoStmt(before.Go.Version))
	for _, r := range before.Require {
		if r.Indirect {
			continue
		}
		version := r.Mod.Version
		if version == u.old.Version {
			version = u.version
		}
		err = errors.Join(err, f.AddRequire(r.Mod.Path, version))
	}
	for _, r := range theirs.Replace {
		if to, ok := u.replacement(r, before); ok {
			err = errors.Join(err, f.AddReplace(r.Old.Path, r.Old.Version, to.Path, to.Version))
		}
	}
	return f, err
}

// replacement gives what a replacement becomes outside upstream's own tree. Kubernetes' staging
// folders are published as v0 of the same release; another folder keeps what was chosen by hand.
func (u *update) replacement(r *modfile.Replace, before *modfile.File) (module.Version, bool) {
	if r.New.Version != "" {
		return r.New, true
	}
	if strings.HasPrefix(r.New.Path, "./staging/src/") {
		return module.Version{Path: r.Old.Path, Version: "v0" + strings.TrimPrefix(u.version, "v1")}, true
	}
	for _, b := range before.Replace {
		if b.Old.Path == r.Old.Path {
			return b.New, true
		}
	}
	return module.Version{}, false
}

func (u *update) write(f *modfile.File) error {
	mod, err := f.Format()
	if err != nil {
		return err
	}
	var tools strings.Builder
	tools.WriteString("//go:build tools\n\npackage upstream\n\nimport (\n")
	for _, p := range build.Packages(u.set, u.old.Name) {
		fmt.Fprintf(&tools, "\t_ %q\n", p)
	}
	tools.WriteString(")\n")
	return errors.Join(os.WriteFile(filepath.Join(u.work, "go.mod"), mod, 0o600),
		os.WriteFile(filepath.Join(u.work, "tools.go"), []byte(tools.String()), 0o600))
}

// complete fills in the checksums. Tidy also wants the tests of dependencies and other systems'
// code, which are not always to be had; what Linux compiles is enough then.
func (u *update) complete(ctx context.Context) error {
	_, tidy := u.golang(ctx, "mod", "tidy")
	if tidy == nil {
		return nil
	}
	_, err := u.golang(ctx, append([]string{"list", "-mod=mod", "-deps"}, build.Packages(u.set, u.old.Name)...)...)
	if err != nil {
		return errors.Join(tidy, err)
	}
	return nil
}

func (u *update) keep(from, suffix string) error {
	data, err := os.ReadFile(filepath.Join(u.work, from))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, u.old.Name+suffix), data, 0o644) //nolint:gosec // a source file
}

// golang runs the go command with every way around the checksum database closed.
func (u *update) golang(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = u.work
	cmd.Env = append(cmd.Environ(), "GOFLAGS=", "GOWORK=off", "GONOSUMDB=", "GONOSUMCHECK=", "GOPRIVATE=", "GOINSECURE=", "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
