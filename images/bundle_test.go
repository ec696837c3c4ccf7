package images_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
)

// TestOpen breaks a bundle in every way that its index and manifests can be wrong.
func TestOpen(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(f *fake)
		fault   string
		says    string
	}{
		"none":               {func(f *fake) { os.Remove(filepath.Join(f.dir, "index.json")) }, "bundle-missing", "images build"},
		"no JSON":            {func(f *fake) { f.write(filepath.Join(f.dir, "index.json"), []byte("{")) }, "bundle-corrupt", "index.json"},
		"empty":              {func(f *fake) { f.index.Manifests = nil; f.save() }, "bundle-corrupt", "empty"},
		"another format":     {annotated(images.AnnotationFormat, "0"), "bundle-corrupt", `"0"`},
		"other architecture": {annotated(images.AnnotationPlatform, "linux/s390x"), "bundle-architecture", "linux/s390x"},
		"flipped manifest":   {func(f *fake) { f.flip(f.index.Manifests[1]) }, "bundle-corrupt", `"runc"`},
		"missing manifest":   {func(f *fake) { os.Remove(f.path(f.index.Manifests[1])) }, "bundle-corrupt", "missing"},
		"twice the same":     {func(f *fake) { f.add("runc", images.KindFiles) }, "bundle-corrupt", `"runc" is in it twice`},
		"name is a path":     {func(f *fake) { f.add("../runc", images.KindFiles) }, "bundle-corrupt", "no name"},
		"no name":            {func(f *fake) { f.add("", images.KindFiles) }, "bundle-corrupt", "no name"},
		"digest is a path":   {described(func(d *v1.Descriptor) { d.Digest = "sha256:../../x" }), "bundle-corrupt", "invalid checksum"},
		"size is wrong":      {described(func(d *v1.Descriptor) { d.Size-- }), "bundle-corrupt", "bytes"},
		"size is huge":       {described(func(d *v1.Descriptor) { d.Size = 1 << 40 }), "bundle-corrupt", "too many"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.add("kubelet", images.KindFiles, file("bin/kubelet"))
			f.add("runc", images.KindFiles, file("bin/runc"))
			c.breakIt(f)
			_, err := images.Open(f.dir)
			wantStoreFault(t, err, c.fault)
			if text := err.Error() + fault.All(err)[0].Next; !strings.Contains(text, c.says) {
				t.Errorf("%q does not say %q", text, c.says)
			}
		})
	}
}

func annotated(name, value string) func(*fake) {
	return func(f *fake) { f.index.Annotations[name] = value; f.save() }
}

func described(change func(*v1.Descriptor)) func(*fake) {
	return func(f *fake) { change(&f.index.Manifests[0]); f.save() }
}

func TestComponents(t *testing.T) {
	f := newFake(t)
	f.add("runc", images.KindFiles, file("bin/runc"))
	f.add("docs", images.KindManifests, file("./a.yaml"), file("b/c.yaml"))
	b := f.open()
	if got := b.Components(); len(got) != 2 || got[0].Name != "docs" || got[1].Version != "v1" || got[1].Size == 0 {
		t.Errorf("components %+v", got)
	}
	if _, err := b.Component("none"); err == nil || !strings.Contains(err.Error(), "[docs runc]") {
		t.Errorf("unknown component: %v", err)
	}
	files, err := b.Manifests(t.Context(), "docs")
	if err != nil || string(files["a.yaml"]) != "./a.yaml" || string(files["b/c.yaml"]) != "b/c.yaml" || len(files) != 2 {
		t.Errorf("manifests %q, %v", files, err)
	}
	if _, err := b.Manifests(t.Context(), "runc"); err == nil {
		t.Error("runc has manifests")
	}
}

func TestForNodes(t *testing.T) {
	f := newFake(t)
	f.add("runc", images.KindFiles, file("bin/runc"))
	f.add("kubelet", images.KindFiles, file("bin/kubelet"))
	f.add("kubeadm", images.KindFiles, file("bin/kubeadm"))
	f.add("docs", images.KindManifests, file("a.yaml"))
	if got := f.open().ForNodes(); !slices.Equal(got, []string{"kubelet", "runc"}) {
		t.Errorf("nodes get %v", got)
	}
}

// TestVerify damages blobs that Open does not read: each is named with its component, and nothing else is.
func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(f *fake, one, two v1.Descriptor)
		want   []string // parts of each error, in order
	}{
		"whole":         {func(*fake, v1.Descriptor, v1.Descriptor) {}, nil},
		"flipped bit":   {func(f *fake, one, _ v1.Descriptor) { f.flip(one) }, []string{`"one"`}},
		"missing":       {func(f *fake, one, _ v1.Descriptor) { os.Remove(f.path(one)) }, []string{`"one"`}},
		"cut short":     {func(f *fake, one, _ v1.Descriptor) { os.Truncate(f.path(one), one.Size-1) }, []string{`"one"`}},
		"one too long":  {func(f *fake, _, two v1.Descriptor) { os.Truncate(f.path(two), two.Size+1) }, []string{`"two"`}},
		"two at a time": {func(f *fake, one, two v1.Descriptor) { f.flip(one); os.Remove(f.path(two)) }, []string{`"one"`, `"two"`}},
		"shared": {func(f *fake, _, _ v1.Descriptor) { os.Remove(f.path(v1.DescriptorEmptyJSON)) },
			[]string{v1.DescriptorEmptyJSON.Digest.String()}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			one, two := f.add("one", images.KindFiles, file("1")), f.add("two", images.KindFiles, file("2"))
			b := f.open()
			c.damage(f, one, two)
			found := fault.All(b.Verify(t.Context()))
			matches := slices.EqualFunc(found, c.want, func(e *fault.Error, part string) bool {
				return e.ID == "bundle-corrupt" && strings.Contains(e.Error(), part)
			})
			if !matches {
				t.Errorf("got %v, want %v", found, c.want)
			}
		})
	}
}

func TestVerifyStops(t *testing.T) {
	f := newFake(t)
	f.add("one", images.KindFiles, file("1"))
	b := f.open()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
