package images_test

import (
	"archive/tar"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/images"
)

func TestExtract(t *testing.T) {
	f := newFake(t)
	suid := file("bin/su")
	suid.Mode = 0o4755
	f.add("tools", images.KindFiles, tar.Header{Typeflag: tar.TypeDir, Name: "var/", Mode: 0o1777},
		suid, link(tar.TypeLink, "bin/hard", "bin/su"), link(tar.TypeSymlink, "bin/soft", "/etc/passwd"), file("./var/x"))
	b, dest := f.open(), t.TempDir()
	wantInstalled(t, b, dest, false)
	f.write(filepath.Join(dest, "bin/su"), []byte("an older one")) // is replaced
	if err := b.Extract(t.Context(), "tools", dest); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{
		"bin/su": 0o755 | fs.ModeSetuid, "bin/hard": 0o755 | fs.ModeSetuid, "var": fs.ModeDir | fs.ModeSticky | 0o777, "var/x": 0o644,
	} {
		info, err := os.Lstat(filepath.Join(dest, name))
		if err != nil || info.Mode() != mode || !info.IsDir() && !info.ModTime().Equal(made()) {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dest, "bin/hard")); err != nil || string(data) != "bin/su" {
		t.Errorf("bin/hard has %q, %v", data, err)
	}
	if to, err := os.Readlink(filepath.Join(dest, "bin/soft")); err != nil || to != "/etc/passwd" {
		t.Errorf("bin/soft leads to %q, %v", to, err)
	}
	wantInstalled(t, b, dest, true)
	f.write(filepath.Join(dest, "bin/su"), []byte("changed by hand"))
	wantInstalled(t, b, dest, false)
}

// TestExtractPlugin wants of the plugin's image only the plugin.
func TestExtractPlugin(t *testing.T) {
	plugin := file("opt/cni/bin/calico")
	plugin.Mode = 0o755
	f := newFake(t)
	f.add(images.Plugin, images.KindImage, file("etc/ssl/certs/ca-certificates.crt"), file("opt/cni/bin/install"), plugin,
		link(tar.TypeLink, "opt/cni/bin/calico-ipam", "opt/cni/bin/calico"))
	b, dest := f.open(), t.TempDir()
	if err := b.Extract(t.Context(), images.Plugin, dest); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, filepath.Join(dest, "opt/cni/bin"), "calico", "calico-ipam")
	wantEntries(t, dest, "opt", "usr") // with the note of what is installed
	info, err := os.Stat(filepath.Join(dest, "opt/cni/bin/calico-ipam"))
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
	if ok, err := b.Installed(images.Plugin, dest); err != nil || !ok {
		t.Errorf("installed: %v, %v", ok, err)
	}

	f = newFake(t)
	f.add(images.Plugin, images.KindImage, plugin)
	wantStoreFault(t, f.open().Extract(t.Context(), images.Plugin, t.TempDir()), "extract-failed")
}

func wantInstalled(t *testing.T, b *images.Bundle, dest string, want bool) {
	t.Helper()
	if got, err := b.Installed("tools", dest); err != nil || got != want {
		t.Errorf("installed: %v, %v", got, err)
	}
}

// TestExtractRefuses wants that a bad layer changes nothing, neither where it was to go nor beside that.
func TestExtractRefuses(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"dots":                {file("../../out/evil")},
		"dots within":         {file("a/../../../out/evil")},
		"absolute":            {file("/evil")},
		"folder":              {{Typeflag: tar.TypeDir, Name: "../../out/evil", Mode: 0o755}},
		"symlink":             {link(tar.TypeSymlink, "a", "../../out"), file("a/evil")},
		"absolute symlink":    {link(tar.TypeSymlink, "a", "/"), file("a/tmp/evil")},
		"symlink of symlink":  {link(tar.TypeSymlink, "a", "b"), link(tar.TypeSymlink, "b", "../.."), file("a/out/evil")},
		"folder in a symlink": {link(tar.TypeSymlink, "a", "../../out"), {Typeflag: tar.TypeDir, Name: "a/evil", Mode: 0o755}},
		"hard link":           {link(tar.TypeLink, "a", "../../out/secret")},
		"absolute hard link":  {link(tar.TypeLink, "a", "/etc/passwd")},
		"link in a symlink":   {link(tar.TypeSymlink, "a", "../../out"), link(tar.TypeLink, "b", "a/secret")},
		"device":              {{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.add("tools", images.KindFiles, append([]tar.Header{file("good")}, entries...)...)
			dest, out := neighbours(t)
			err := f.open().Extract(t.Context(), "tools", dest)
			wantStoreFault(t, err, "bundle-corrupt")
			if !strings.Contains(err.Error(), `"tools"`) {
				t.Errorf("%v does not name the component", err)
			}
			wantEntries(t, dest, "keep")
			wantEntries(t, out, "secret")
		})
	}
}

// TestExtractDamaged wants that nothing of a layer is used whose digest is wrong.
func TestExtractDamaged(t *testing.T) {
	for name, damage := range map[string]func(f *fake, path string, size int64){
		"missing":   func(_ *fake, path string, _ int64) { os.Remove(path) },
		"cut short": func(_ *fake, path string, size int64) { os.Truncate(path, size-4) },
		"exchanged": func(f *fake, path string, _ int64) { f.write(path, packed(f.t, []tar.Header{file("evil")})) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			layer := f.add("tools", images.KindFiles, file("good"))
			dest, _ := neighbours(t)
			damage(f, f.path(layer), layer.Size)
			err := f.open().Extract(t.Context(), "tools", dest)
			wantStoreFault(t, err, "bundle-corrupt")
			if !strings.Contains(err.Error(), layer.Digest.String()) {
				t.Errorf("%v does not name the blob", err)
			}
			wantEntries(t, dest, "keep")
		})
	}
}

func TestExtractStops(t *testing.T) {
	f := newFake(t)
	f.add("tools", images.KindFiles, file("good"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dest, _ := neighbours(t)
	if err := f.open().Extract(ctx, "tools", dest); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantEntries(t, dest, "keep")
}

// neighbours gives a folder to extract to and one beside it, called out.
func neighbours(t *testing.T) (dest, out string) {
	t.Helper()
	parent := t.TempDir()
	dest, out = filepath.Join(parent, "dest"), filepath.Join(parent, "out")
	for _, file := range []string{filepath.Join(dest, "keep"), filepath.Join(out, "secret")} {
		if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dest, out
}

func wantEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s has %q, %v", dir, got, err)
	}
}
