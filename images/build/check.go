package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
)

// space is what a whole build needs: parts, their temporary copies, and the bundle.
const space = 6 << 30

// toolchain is what the bytes of a compiled program depend on besides its source.
type toolchain struct{ golang, c string }

// findToolchain asks the compilers for their versions; a missing one is reported by check.
func findToolchain(ctx context.Context) toolchain {
	ask := func(args ...string) string {
		out, err := command{args: args, env: goEnv(false)}.run(ctx)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	return toolchain{golang: ask("go", "env", "GOVERSION"), c: ask("gcc", "-dumpfullversion")}
}

// debianPackages names the packages of each tool. Debian's Go is too old.
func debianPackages(tool string) []string {
	switch tool {
	case "go":
		return nil
	case "gcc":
		return []string{"gcc", "libc6-dev"}
	case "libseccomp":
		return []string{"libseccomp-dev"}
	case "mmdebstrap":
		return []string{"mmdebstrap", "debian-archive-keyring"}
	}
	return []string{tool}
}

// check refuses a build that cannot succeed, before anything is made.
func (b *builder) check(ctx context.Context, todo []*unit, o Options) error {
	if len(todo) == 0 {
		return nil
	}
	if err := errors.Join(checkRoot(todo), checkTools(ctx, todo)); err != nil {
		return err
	}
	if len(o.Components) > 0 {
		return nil
	}
	return errors.Join(checkSpace(b.cache), checkSpace(o.Output))
}

// checkRoot asks for root where Debian packages are installed: files keep their owners.
func checkRoot(todo []*unit) error {
	debian := slices.ContainsFunc(todo, func(u *unit) bool { return slices.Contains(u.tools, "mmdebstrap") })
	if !debian || os.Geteuid() == 0 {
		return nil
	}
	return fault.New("not-root", "build a root file system", errors.New("it is made by root only"), "run the command as root")
}

func checkTools(ctx context.Context, todo []*unit) error {
	var lack, packages []string
	for _, u := range todo {
		for _, tool := range u.tools {
			if !slices.Contains(lack, tool) && !installed(ctx, tool) {
				lack = append(lack, tool)
				packages = append(packages, debianPackages(tool)...)
			}
		}
	}
	if len(lack) == 0 {
		return nil
	}
	slices.Sort(lack)
	slices.Sort(packages)
	next := "apt-get install -y " + strings.Join(packages, " ")
	if slices.Contains(lack, "go") {
		next = strings.TrimPrefix(next+"; install Go 1.26 or newer", "apt-get install -y ; ")
	}
	return fault.New("missing-tools", "build the bundle", fmt.Errorf("not found: %s", strings.Join(lack, ", ")), next)
}

func installed(ctx context.Context, tool string) bool {
	if tool == "libseccomp" {
		// The static library has no program to look for.
		_, err := command{args: []string{"pkg-config", "--exists", "libseccomp"}}.run(ctx)
		return err == nil
	}
	_, err := exec.LookPath(tool)
	return err == nil
}

func checkSpace(dir string) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("read the free space of %q: %w", dir, err)
	}
	free := fs.Bavail * uint64(fs.Bsize) //nolint:gosec // a block size is positive
	if free >= space {
		return nil
	}
	return fault.New("disk-full", fmt.Sprintf("build into %q", dir),
		fmt.Errorf("%d MiB are free, %d MiB are needed", free>>20, uint64(space)>>20), "free some space, or choose another folder")
}

// lock lets one build at a time use the cache.
func (b *builder) lock(ctx context.Context) (func(), error) {
	held, err := flock.Wait(ctx, filepath.Join(b.cache, ".lock"), flock.Exclusive)
	if err != nil {
		return nil, fmt.Errorf("wait for another build to end: %w", err)
	}
	return held.Unlock, b.sweep()
}

// sweep removes what a killed build left half made; nobody else is building now.
func (b *builder) sweep() error {
	left, err := filepath.Glob(filepath.Join(b.cache, ".tmp-*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}
