package cmd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/build"
	"slipway.dev/slipway/internal/testenv/testregistry"
)

func TestImages(t *testing.T) {
	dir, layer := smallBundle(t)
	for _, c := range []struct {
		args    string
		out     string // on stdout
		problem string
	}{
		{"list --bundle " + dir, "runc        files   v1.5.2    sha256:", ""},
		{"list -o json --bundle " + dir, `[{"component":"runc","kind":"files","version":"v1.5.2","digest":"sha256:`, ""},
		{"list --kubernetes-version 1.1", "", "the supported versions are"},
		{"list --kubernetes-version 1.37 --bundle " + dir, "", "none of the others can be"},
		{"list --bundle " + dir + "-none", "", "there is none"},
		{"verify --bundle " + dir, `Kubernetes v1.37.1, 1 components`, ""},
		{"build --kubernetes-version 1.1", "", "the supported versions are"},
		{"lst", "", "unknown command"},
	} {
		out, err := runImages(t, c.args)
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: error %v, want %q", c.args, err, c.problem)
		}
		if !strings.Contains(out, c.out) {
			t.Errorf("%s: %q does not have %q", c.args, out, c.out)
		}
	}
	if err := os.Remove(layer); err != nil {
		t.Fatal(err)
	}
	if _, err := runImages(t, "verify --bundle "+dir); err == nil || !strings.Contains(err.Error(), filepath.Base(layer)) {
		t.Errorf("verify of a bundle without a blob: %v", err)
	}
}

// runImages gives what the command printed.
func runImages(t *testing.T, args string) (string, error) {
	t.Helper()
	return runImagesIn(t, t.TempDir(), args)
}

func runImagesIn(t *testing.T, cache, args string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	o := &options{Stdout: &out, Stderr: &out, CacheDir: cache}
	root := newRoot(o)
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append([]string{"images"}, strings.Fields(args)...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// smallBundle has one component, whose layer it gives.
func smallBundle(t *testing.T) (dir, layer string) {
	t.Helper()
	dir = t.TempDir()
	put := func(data []byte) v1.Descriptor {
		d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
		layer = filepath.Join(dir, "blobs", "sha256", d.Digest.Encoded())
		write(t, layer, data)
		return d
	}
	version := specs.Versioned{SchemaVersion: 2}
	manifest := put(encode(t, v1.Manifest{
		Versioned: version, MediaType: v1.MediaTypeImageManifest, Config: put([]byte("{}")), Layers: []v1.Descriptor{put([]byte("layer"))},
	}))
	put([]byte("layer"))
	manifest.Annotations = map[string]string{
		images.AnnotationComponent: "runc", images.AnnotationKind: images.KindFiles, images.AnnotationVersion: "v1.5.2",
	}
	write(t, filepath.Join(dir, "index.json"), encode(t, v1.Index{
		Versioned: version, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{manifest},
		Annotations: map[string]string{
			images.AnnotationFormat: images.Format, images.AnnotationKubernetes: "v1.37.1",
			images.AnnotationPlatform: "linux/" + runtime.GOARCH,
		},
	}))
	return dir, layer
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestShowBuild wants one line for each finished part where there is no terminal.
func TestShowBuild(t *testing.T) {
	var out bytes.Buffer
	report, done := showBuild(&options{Stderr: &out})
	for _, p := range []build.Progress{
		{Unit: "go-runc-1.5", Started: true, Total: 10},
		{Unit: "go-runc-1.5", Took: 1234 * time.Millisecond, Done: 1, Total: 10},
	} {
		report(p)
	}
	done()
	if want := "[ 1/10] go-runc-1.5 1.2s\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// TestImagesInRegistry: a bundle goes through a registry and comes back the same.
func TestImagesInRegistry(t *testing.T) {
	dir, layer := smallBundle(t)
	reg := testregistry.Start(t, testregistry.Options{TLS: true})
	ref, trust := "oci://"+reg.Addr+"/slipway/bundle:v1", " --registry-ca "+reg.CA
	out, err := runImages(t, "push --bundle "+dir+" "+ref+trust)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	byDigest := lines[len(lines)-1]
	if err != nil || !strings.HasPrefix(byDigest, "oci://"+reg.Addr+"/slipway/bundle@sha256:") {
		t.Fatalf("push: %v: %s", err, out)
	}
	copied := filepath.Join(t.TempDir(), "copied")
	for _, c := range []struct {
		args    string
		out     string
		problem string
	}{
		{"list --bundle " + ref + trust, "runc        files   v1.5.2    sha256:", ""},
		{"list --bundle " + ref, "", "certificate"},
		{"verify --bundle " + byDigest + trust, `Kubernetes v1.37.1, 1 components`, ""},
		{"pull " + byDigest + trust, strings.Replace(byDigest[strings.Index(byDigest, "sha256"):], ":", "-", 1), ""},
		{"pull " + ref + trust + " --output " + copied, copied, ""},
		{"verify --bundle " + copied, "is whole", ""},
		{"pull " + reg.Addr + "/slipway/bundle:v1", "", `begin with "oci://"`},
		{"pull oci://" + reg.Addr + "/slipway/bundle", "", "a tag or a digest"},
		{"push --bundle " + ref + " " + strings.Replace(ref, "v1", "v2", 1) + trust, byDigest, ""}, // from one registry to another
		{"push --bundle " + dir + " " + byDigest + trust, "", "no tag"},
	} {
		out, err := runImages(t, c.args)
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: error %v, want %q", c.args, err, c.problem)
		}
		if !strings.Contains(out, c.out) {
			t.Errorf("%s: %q does not have %q", c.args, out, c.out)
		}
	}
	// What is damaged here is found and pulled again, in the cache as elsewhere.
	cache := t.TempDir()
	for _, output := range []string{"", " --output " + copied} {
		pull := "pull " + byDigest + trust + output
		out, err := runImagesIn(t, cache, pull)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		pulled := lines[len(lines)-1]
		write(t, filepath.Join(pulled, "blobs", "sha256", filepath.Base(layer)), []byte("LAYER"))
		if _, err := runImages(t, "verify --bundle "+pulled); err == nil {
			t.Errorf("%s is whole", pulled)
		}
		if _, err := runImagesIn(t, cache, pull); err != nil {
			t.Error(err)
		}
		if _, err := runImages(t, "verify --bundle "+pulled); err != nil {
			t.Error(err)
		}
	}
}
