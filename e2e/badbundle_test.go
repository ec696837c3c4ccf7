package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func withoutBundle(t *testing.T, i *invocation) {
	i.env = []string{cacheVar + "=" + t.TempDir()}
}

// bundleCopy is a cache with nothing but the default bundle, in hard links where they can be had.
func bundleCopy(t *testing.T, i *invocation) (bundle string) {
	t.Helper()
	from := os.Getenv(cacheVar)
	if from == "" {
		from = "/var/cache/slipway"
	}
	found, err := filepath.Glob(filepath.Join(from, "bundles", "v1.37.*"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	cache, err := os.MkdirTemp(filepath.Dir(os.Getenv(stateVar)), "cache-") // swept whatever happens
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(cache) })
	bundle = filepath.Join(cache, "bundles", filepath.Base(found[0]))
	if err := os.Mkdir(filepath.Dir(bundle), 0o755); err != nil {
		t.Fatal(err)
	}
	if exec.Command("cp", "-al", found[0], bundle).Run() != nil { // on another file system
		if out, err := exec.Command("cp", "-aT", found[0], bundle).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	i.env = []string{cacheVar + "=" + cache}
	return bundle
}

func withFlippedByte(t *testing.T, i *invocation) {
	bundle := bundleCopy(t, i)
	blob := layerOf(t, bundle, "kube-apiserver")
	data, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	rewrite(t, blob, data)
	r := invocation{args: []string{"images", "verify"}, env: i.env}.run(t)
	if r.code == 0 || !strings.Contains(r.stderr, filepath.Base(blob)) || !strings.Contains(r.stderr, "kube-apiserver") {
		t.Errorf("images verify does not name the blob and its component: %v", r)
	}
}

func withOtherArchitecture(t *testing.T, i *invocation) {
	index := filepath.Join(bundleCopy(t, i), "index.json")
	data, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, index, bytes.ReplaceAll(data, []byte("linux/"+goArch(t)), []byte("linux/s390x")))
}

// rewrite makes a new file, so that the one it was a link to stays whole.
func rewrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func layerOf(t *testing.T, bundle, component string) string {
	t.Helper()
	var index v1.IndexManifest
	read(t, filepath.Join(bundle, "index.json"), &index)
	for _, d := range index.Manifests {
		if d.Annotations["dev.slipway.component"] == component {
			var m v1.Manifest
			read(t, blobPath(bundle, d.Digest), &m)
			return blobPath(bundle, m.Layers[len(m.Layers)-1].Digest)
		}
	}
	t.Fatalf("the bundle has no %q", component)
	return ""
}

func blobPath(bundle string, h v1.Hash) string {
	return filepath.Join(bundle, "blobs", h.Algorithm, h.Hex)
}

func read(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
