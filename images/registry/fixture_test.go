package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/testenv/testregistry"
)

// layers are what a small bundle is made of: kinds and sizes of components. The same name has the same content in all.
type layers map[string]int

func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, "-")
	return kind
}

// makeBundle makes a bundle of components called KIND-NAME.
func makeBundle(t *testing.T, dir string, components layers) *images.Bundle {
	t.Helper()
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Annotations: map[string]string{
		images.AnnotationFormat: images.Format, images.AnnotationKubernetes: "v1.2.3", images.AnnotationPlatform: "linux/" + runtime.GOARCH,
	}}
	put := func(mediaType string, data []byte) v1.Descriptor {
		d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		write(t, blob(dir, d), data)
		return d
	}
	for name, size := range components {
		content := make([]byte, size)
		_, _ = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(content)
		m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: "application/vnd.test",
			Config: put(v1.MediaTypeEmptyJSON, []byte("{}")), Layers: []v1.Descriptor{put("application/vnd.oci.image.layer.v1.tar+zstd", content)}}
		d := put(v1.MediaTypeImageManifest, encode(t, m))
		d.Annotations = map[string]string{
			images.AnnotationComponent: name, images.AnnotationKind: kindOf(name), images.AnnotationVersion: "v1",
		}
		index.Manifests = append(index.Manifests, d)
	}
	write(t, filepath.Join(dir, v1.ImageLayoutFile), encode(t, v1.ImageLayout{Version: v1.ImageLayoutVersion}))
	write(t, filepath.Join(dir, v1.ImageIndexFile), encode(t, index))
	b, err := images.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func blob(dir string, d v1.Descriptor) string {
	return filepath.Join(dir, v1.ImageBlobsDir, "sha256", d.Digest.Encoded())
}

// layerOf gives the layer of a component.
func layerOf(t *testing.T, b *images.Bundle, name string) v1.Descriptor {
	t.Helper()
	for _, d := range b.Blobs(func(c images.Component) bool { return c.Name == name }) {
		if strings.HasSuffix(d.MediaType, "tar+zstd") {
			return d
		}
	}
	t.Fatalf("no layer of %q", name)
	return v1.Descriptor{}
}

// wire is between us and the registry: it counts, and a test can let it break things.
type wire struct {
	*httptest.Server
	blobs   atomic.Int64 // bytes of blobs that went to us
	written atomic.Int64 // requests that sent a part of a blob or a manifest
	ranges  atomic.Int64 // requests for the rest of a blob
	// spoil may change an answer; it may be nil.
	mu    sync.Mutex
	spoil func(*http.Request, *http.Response)
}

func newWire(t *testing.T, to *testregistry.Registry) *wire {
	t.Helper()
	w := &wire{}
	target := &url.URL{Scheme: "http", Host: to.Addr}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.count(r)
			if w.spoil != nil {
				w.spoil(r.Request, r)
			}
			return nil
		},
	}
	p.FlushInterval = -1
	p.ErrorLog = log.New(io.Discard, "", 0) // of connections that a test breaks
	w.Server = httptest.NewUnstartedServer(p)
	w.Config.ErrorLog = p.ErrorLog
	w.Start()
	t.Cleanup(w.Close)
	return w
}

func (w *wire) count(r *http.Response) {
	switch r.Request.Method {
	case http.MethodPut, http.MethodPatch, http.MethodPost:
		w.written.Add(1)
	case http.MethodGet:
		if !isBlob(r.Request) {
			return
		}
		if r.Request.Header.Get("Range") != "" {
			w.ranges.Add(1)
		}
		r.Body = &counting{ReadCloser: r.Body, n: &w.blobs}
	}
}

func isBlob(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:")
}

func (w *wire) spoils(spoil func(*http.Request, *http.Response)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spoil = spoil
}

func (w *wire) ref(t *testing.T, rest string) registry.Ref {
	t.Helper()
	return parse(t, "oci://"+strings.TrimPrefix(w.URL, "http://")+"/slipway/bundle"+rest)
}

func parse(t *testing.T, text string) registry.Ref {
	t.Helper()
	ref, err := registry.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

type counting struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func quiet(string) {}

func push(t *testing.T, b *images.Bundle, ref registry.Ref) registry.Ref {
	t.Helper()
	out, err := registry.Push(t.Context(), b, ref, registry.Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pull gives the directory below root.
func pull(ctx context.Context, ref registry.Ref, root string, want registry.Selection) (string, error) {
	r, err := registry.Open(ctx, ref, registry.Options{})
	if err != nil {
		return "", err
	}
	defer r.Close()
	dir := registry.Dir(root, r.Digest())
	return dir, r.Pull(ctx, dir, want, quiet)
}

func mustPull(t *testing.T, ref registry.Ref, root string) string {
	t.Helper()
	dir, err := pull(t.Context(), ref, root, registry.Whole)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func wantFault(t *testing.T, err error, id, says string) {
	t.Helper()
	all := fault.All(err)
	if len(all) != 1 || all[0].ID != id || !strings.Contains(all[0].Error(), says) {
		t.Errorf("got %v, want %s that says %q", err, id, says)
	}
}

// same compares two directories, file by file, but for the lock of a pull.
func same(t *testing.T, a, b string) {
	t.Helper()
	files := func(dir string) map[string][]byte {
		out := map[string][]byte{}
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path == registry.LockFile {
				return err
			}
			out[path], err = os.ReadFile(filepath.Join(dir, path))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	x, y := files(a), files(b)
	for path, data := range x {
		if !bytes.Equal(data, y[path]) {
			t.Errorf("%s differs", path)
		}
	}
	for path := range y {
		if _, ok := x[path]; !ok {
			t.Errorf("%s is left over", path)
		}
	}
}
