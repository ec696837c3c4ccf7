package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/testenv/testregistry"
)

const (
	mib  = 1 << 20
	more = 64 << 10 // what a pull may fetch besides layers
)

func TestPushAndPull(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	b := makeBundle(t, t.TempDir(), layers{"image-a": 3 * mib, "files-b": 2 * mib, "rootfs-c": 2 * mib, "manifests-d": 1000})
	ref := push(t, b, w.ref(t, ":v1"))
	if ref.Digest() != b.Digest() || ref.String() != w.ref(t, "@"+b.Digest()).String() {
		t.Errorf("pushed as %s, the bundle is %s", ref, b.Digest())
	}
	// What is there is not sent again, under another tag neither.
	w.written.Store(0)
	push(t, b, w.ref(t, ":v1"))
	push(t, b, w.ref(t, ":v1-again"))
	if n := w.written.Load(); n > 1 {
		t.Errorf("%d requests sent something a second time", n)
	}
	// To list what is in it costs next to nothing.
	r, err := registry.Open(t.Context(), w.ref(t, ":v1"), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(r.Components()), fmt.Sprint(b.Components()); got != want || w.blobs.Load() > more {
		t.Errorf("%s instead of %s, at the cost of %d bytes", got, want, w.blobs.Load())
	}
	if _, err := r.Manifests(t.Context(), "manifests-d"); err == nil || strings.Contains(err.Error(), "missing") { // it is no tar
		t.Errorf("manifests: %v", err)
	}
	r.Close()
	if _, err := os.Stat(r.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left behind", r.Dir())
	}
	root := t.TempDir()
	dir := mustPull(t, w.ref(t, ":v1"), root)
	same(t, b.Dir(), dir)
	if !registry.Here(dir, b.Digest(), registry.Whole) {
		t.Error("it is not here")
	}
	w.blobs.Store(0)
	mustPull(t, w.ref(t, ":v1"), root)
	if n := w.blobs.Load(); n > more {
		t.Errorf("a second pull fetched %d bytes", n)
	}
	if left, _ := filepath.Glob(filepath.Join(root, "*")); len(left) != 1 {
		t.Errorf("there is more than the bundle: %v", left)
	}
}

// TestForServers: a server does not need the root file system of machines. Who does gets it then.
func TestForServers(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	b := makeBundle(t, t.TempDir(), layers{"image-a": mib, "rootfs-c": 2 * mib})
	push(t, b, w.ref(t, ":v1"))
	dir, err := pull(t.Context(), w.ref(t, ":v1"), t.TempDir(), registry.ForServers)
	if err != nil {
		t.Fatal(err)
	}
	if n := w.blobs.Load(); n > mib+more || !registry.Here(dir, b.Digest(), registry.ForServers) || registry.Here(dir, b.Digest(), registry.Whole) {
		t.Errorf("%d bytes were fetched", n)
	}
	mustPull(t, w.ref(t, ":v1"), filepath.Dir(dir))
	same(t, b.Dir(), dir)
}

// TestShared: what two bundles have in common is fetched once, and takes place once.
func TestShared(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	one := makeBundle(t, t.TempDir(), layers{"image-a": mib, "image-b": 2 * mib, "image-c": 2 * mib})
	two := makeBundle(t, t.TempDir(), layers{"image-b": 2 * mib, "image-c": 2 * mib, "image-d": mib})
	push(t, one, w.ref(t, ":one"))
	push(t, two, w.ref(t, ":two"))
	root := t.TempDir()
	first := mustPull(t, w.ref(t, ":one"), root)
	shared := layerOf(t, one, "image-b")
	// What is damaged on this disk is not taken over.
	bad := layerOf(t, one, "image-c")
	flip(t, blob(first, bad))
	w.blobs.Store(0)
	second := mustPull(t, w.ref(t, ":two"), root)
	same(t, two.Dir(), second)
	if n := w.blobs.Load(); n > 3*mib+more {
		t.Errorf("%d bytes were fetched", n)
	}
	a, err := os.Stat(blob(first, shared))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.Stat(blob(second, shared)); err != nil || !os.SameFile(a, b) {
		t.Errorf("it takes place twice: %v", err)
	}
}

func flip(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	write(t, path, data)
}

// cut lets an answer break off after so many bytes.
type cut struct {
	io.ReadCloser
	left int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("cut")
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// TestBrokenConnection: each connection brings half a MiB. Nothing is fetched twice.
func TestBrokenConnection(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	b := makeBundle(t, t.TempDir(), layers{"image-a": 3 * mib, "image-b": mib})
	push(t, b, w.ref(t, ":v1"))
	w.spoils(func(r *http.Request, resp *http.Response) {
		if isBlob(r) {
			resp.Body = &cut{resp.Body, mib / 2}
		}
	})
	same(t, b.Dir(), mustPull(t, w.ref(t, ":v1"), t.TempDir()))
	if n, ranges := w.blobs.Load(), w.ranges.Load(); n > 4*mib+more || ranges < 5 {
		t.Errorf("%d bytes were fetched, by %d requests for a rest", n, ranges)
	}
}

// TestInterrupted: what an interrupted pull has fetched is no bundle, and is not fetched again.
func TestInterrupted(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	b := makeBundle(t, t.TempDir(), layers{"image-a": 3 * mib, "image-b": mib, "image-c": 5 * mib})
	push(t, b, w.ref(t, ":v1"))
	root := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	large := layerOf(t, b, "image-c").Digest.String()
	w.spoils(func(r *http.Request, resp *http.Response) {
		if strings.HasSuffix(r.URL.Path, large) {
			resp.Body = &hook{resp.Body, 2 * mib, func() {
				partial := filepath.Join(root, "*", v1.ImageBlobsDir, "sha256", strings.TrimPrefix(large, "sha256:")+".partial")
				for end := time.Now().Add(10 * time.Second); sizeOf(partial) == 0 && time.Now().Before(end); {
					time.Sleep(time.Millisecond) // what was sent has yet to be written
				}
				cancel()
			}}
		}
	})
	dir, err := pull(ctx, w.ref(t, ":v1"), root, registry.Whole)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	if _, err := images.Open(dir); err == nil {
		t.Error("half a bundle is one")
	}
	w.spoils(nil)
	before := w.blobs.Load()
	same(t, b.Dir(), mustPull(t, w.ref(t, ":v1"), root))
	if again := w.blobs.Load() - before; again >= 9*mib || w.ranges.Load() == 0 {
		t.Errorf("%d bytes were fetched after %d, by %d requests for a rest", again, before, w.ranges.Load())
	}
	// What a power cut has damaged is found out, and fetched again.
	third := t.TempDir()
	junk := filepath.Join(registry.Dir(third, b.Digest()), v1.ImageBlobsDir, "sha256", strings.TrimPrefix(large, "sha256:")+".partial")
	write(t, junk, make([]byte, mib))
	same(t, b.Dir(), mustPull(t, w.ref(t, ":v1"), third))
}

// TestSilentConnection: nobody waits for ever. Each connection brings half a MiB and then nothing; at last they bring nothing
// at all.
func TestSilentConnection(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	b := makeBundle(t, t.TempDir(), layers{"image-a": 2 * mib})
	push(t, b, w.ref(t, ":v1"))
	r, err := registry.Open(t.Context(), w.ref(t, ":v1"), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.SetIdle(200 * time.Millisecond)
	silentAfter := func(n int) func(*http.Request, *http.Response) {
		return func(req *http.Request, resp *http.Response) {
			if isBlob(req) {
				resp.Body = &silent{ReadCloser: resp.Body, left: n, gone: req.Context().Done()}
			}
		}
	}
	w.spoils(silentAfter(mib / 2))
	dir := filepath.Join(t.TempDir(), "bundle")
	if err := r.Pull(t.Context(), dir, registry.Whole, quiet); err != nil {
		t.Fatal(err)
	}
	same(t, b.Dir(), dir)
	w.spoils(silentAfter(0))
	wantFault(t, r.Pull(t.Context(), filepath.Join(t.TempDir(), "none"), registry.Whole, quiet), "registry-unreachable", "silent")
}

// silent gives no more after so many bytes, and does not end before the one who reads has gone.
type silent struct {
	io.ReadCloser
	left int
	gone <-chan struct{}
}

func (s *silent) Read(p []byte) (int, error) {
	if s.left == 0 {
		<-s.gone
		return 0, io.ErrUnexpectedEOF
	}
	n, err := s.ReadCloser.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

func sizeOf(pattern string) int64 {
	found, _ := filepath.Glob(pattern)
	if len(found) != 1 {
		return 0
	}
	info, err := os.Stat(found[0])
	if err != nil {
		return 0
	}
	return info.Size()
}

// hook calls after so many bytes.
type hook struct {
	io.ReadCloser
	left int
	call func()
}

func (h *hook) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	if h.left -= n; h.left < 0 {
		h.call()
	}
	return n, err
}

// TestDamaged: what a registry gives is not used unless it is what was asked for.
func TestDamaged(t *testing.T) {
	reg := testregistry.Start(t, testregistry.Options{})
	w := newWire(t, reg)
	b := makeBundle(t, t.TempDir(), layers{"image-a": mib, "files-b": mib})
	other := makeBundle(t, t.TempDir(), layers{"image-a": mib})
	push(t, b, w.ref(t, ":v1"))
	push(t, other, w.ref(t, ":other"))
	layer := layerOf(t, b, "image-a")
	stored := filepath.Join(reg.Data, "docker/registry/v2/blobs/sha256", layer.Digest.Encoded()[:2], layer.Digest.Encoded(), "data")
	root := t.TempDir()

	flip(t, stored)
	dir, err := pull(t.Context(), w.ref(t, ":v1"), root, registry.Whole)
	wantFault(t, err, "bundle-corrupt", layer.Digest.String())
	if _, err := images.Open(dir); err == nil {
		t.Error("a damaged bundle is one")
	}
	if _, err := os.Stat(blob(dir, layer)); err == nil {
		t.Error("the damaged blob has its name")
	}
	flip(t, stored)
	same(t, b.Dir(), mustPull(t, w.ref(t, ":v1"), root))

	none := "@sha256:" + strings.Repeat("0", 64)
	_, err = pull(t.Context(), w.ref(t, none), root, registry.Whole)
	wantFault(t, err, "bundle-missing", none)
	_, err = pull(t.Context(), w.ref(t, ":v2"), root, registry.Whole)
	wantFault(t, err, "bundle-missing", ":v2")

	// A registry that gives another index than the one with the digest.
	index, err := os.ReadFile(filepath.Join(other.Dir(), v1.ImageIndexFile))
	if err != nil {
		t.Fatal(err)
	}
	w.spoils(func(r *http.Request, resp *http.Response) {
		if strings.HasSuffix(r.URL.Path, b.Digest()) {
			resp.Body, resp.ContentLength = readCloser(index), int64(len(index))
			resp.Header.Set("Content-Length", fmt.Sprint(len(index)))
		}
	})
	_, err = pull(t.Context(), w.ref(t, "@"+b.Digest()), t.TempDir(), registry.Whole)
	wantFault(t, err, "bundle-corrupt", other.Digest())

	// What is damaged here is not pushed.
	flip(t, blob(b.Dir(), layer))
	_, err = registry.Push(t.Context(), b, w.ref(t, ":v3"), registry.Options{}, quiet)
	wantFault(t, err, "bundle-corrupt", `"image-a"`)
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

func readCloser(data []byte) body { return body{bytes.NewReader(data)} }

// TestNoBundle: something else that registries hold.
func TestNoBundle(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	img, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(strings.TrimPrefix(w.URL, "http://") + "/slipway/bundle:image")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(remote.Write(tag, img), remote.WriteIndex(tag.Tag("index"), mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img}))); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{":image", ":index"} {
		_, err := registry.Open(t.Context(), w.ref(t, tag), registry.Options{})
		wantFault(t, err, "bundle-corrupt", "something else than a bundle")
	}
}

// TestTogether: two pulls at the same moment fetch a bundle once.
func TestTogether(t *testing.T) {
	w := newWire(t, testregistry.Start(t, testregistry.Options{}))
	b := makeBundle(t, t.TempDir(), layers{"image-a": 4 * mib, "image-b": 4 * mib})
	push(t, b, w.ref(t, ":v1"))
	root := t.TempDir()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if _, err := pull(t.Context(), w.ref(t, ":v1"), root, registry.Whole); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	same(t, b.Dir(), registry.Dir(root, b.Digest()))
	if n := w.blobs.Load(); n > 8*mib+more {
		t.Errorf("%d bytes were fetched", n)
	}
}
