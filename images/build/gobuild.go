package build

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/images/upstream"
)

// program is the commands that are compiled together from one upstream module.
type program struct {
	upstream string
	packages []string
	tags     string
	cgo      bool
	ldflags  []string
	rename   map[string]string // the command's name after go build -> the one it is known by
	tools    []string
}

// goUnit is the unit that compiles a program: a folder of binaries.
func goUnit(p program, u pins.Upstream, toolchain string) (*unit, error) {
	mod, sum, err := upstream.Module(u.Name)
	if err != nil {
		return nil, err
	}
	return &unit{
		name:   "go-" + u.Name,
		inputs: append([]string{toolchain, hash(mod), hash(sum), fmt.Sprintf("%+v", p)}, p.flags()...),
		tools:  append([]string{"go"}, p.tools...),
		make: func(ctx context.Context, b *builder, dir string, _ []string) error {
			return b.inModule(u.Name, func(work string) error { return p.compile(ctx, work, dir) })
		},
	}, nil
}

func hash(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func (p program) flags() []string {
	ld := append([]string{"-s", "-w", "-buildid="}, p.ldflags...)
	if p.cgo {
		ld = append(ld, "-linkmode=external", `-extldflags "-static -Wl,--build-id=none"`)
	}
	out := []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(ld, " ")}
	if p.tags != "" {
		out = append(out, "-tags", p.tags)
	}
	return out
}

func (p program) compile(ctx context.Context, work, dir string) error {
	args := append([]string{"go", "build"}, p.flags()...)
	args = append(append(args, "-o", dir+"/"), p.packages...)
	if _, err := (command{args: args, dir: work, env: goEnv(p.cgo)}).run(ctx); err != nil {
		return err
	}
	for from, to := range p.rename {
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			return err
		}
	}
	return nil
}

// goEnv takes away what a user's own settings could change in the result.
func goEnv(cgo bool) []string {
	env := []string{
		"GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local", "GOEXPERIMENT=",
		"GOOS=linux", "GOARCH=" + runtime.GOARCH, "GOAMD64=v1", "CGO_ENABLED=0", "CC=gcc",
	}
	if cgo {
		env = append(env, "CGO_ENABLED=1", "CGO_CFLAGS=-O2 -g0", "CGO_LDFLAGS=")
	}
	return env
}

// inModule gives fill a folder with the upstream's go.mod and go.sum.
func (b *builder) inModule(name string, fill func(work string) error) error {
	work, err := os.MkdirTemp(b.cache, ".tmp-module-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	mod, sum, err := upstream.Module(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "go.mod"), mod, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "go.sum"), sum, 0o644); err != nil {
		return err
	}
	return fill(work)
}

// moduleDir gives the unpacked, checksummed source of an upstream's module.
func (b *builder) moduleDir(ctx context.Context, u pins.Upstream) (dir string, err error) {
	err = b.inModule(u.Name, func(work string) error {
		for _, args := range [][]string{{"mod", "download", u.Module}, {"list", "-mod=readonly", "-m", "-f", "{{.Dir}}", u.Module}} {
			out, err := command{args: append([]string{"go"}, args...), dir: work, env: goEnv(false)}.run(ctx)
			if err != nil {
				return err
			}
			dir = strings.TrimSpace(string(out))
		}
		return nil
	})
	return dir, err
}
