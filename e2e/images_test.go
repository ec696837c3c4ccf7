package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway.dev/slipway/images/archive"
	"slipway.dev/slipway/internal/testenv/testregistry"
)

// imagesTest is a cluster of two nodes and images of a developer's own, which share the layer with the program.
type imagesTest struct {
	cluster
	dir      string // with the archives
	program  v1.Layer
	registry *testregistry.Registry // on this computer's loopback
	private  *testregistry.Registry // the same, with TLS
	flags    []string               // of up
}

const privateName = "registry.localhost"

func (imagesTest) nodes() []string { return []string{"img-cp-1", "img-worker-1"} }

// TestImages brings a developer's images to all nodes, in every way.
func TestImages(t *testing.T) {
	need(t)
	foreign := writeForeign(t)
	before := takeInventory(t)
	i := &imagesTest{dir: t.TempDir(), program: echoLayer(t)}
	i.registries(t)
	i.flags = []string{"--workers", "1",
		"--image", i.archive(t, "launched", "slipway.test/launched:1"),
		"--registry-mirror", "docker.io=http://localhost:" + portOf(i.registry),
		"--registry-mirror", "http://" + i.registry.Addr,
		"--registry-mirror", "https://" + privateName + ":" + portOf(i.private), "--registry-ca", i.private.CA}
	i.cluster = launch(t, "img", i.flags...)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"launched", func(t *testing.T) { i.runs(t, "launched", "slipway.test/launched:1", "Never") }},
		{"only what is new", i.onlyNew},
		{"list", i.list},
		{"refused", i.refused},
		{"in use", i.inUse},
		{"save, remove, load", i.roundTrip},
		{"interrupted", i.interrupted},
		{"mirrors", i.mirrors},
		{"up again", i.upAgain},
	} {
		if !t.Run(step.name, step.run) {
			i.describe(t)
		}
	}
	t.Run("down leaves nothing", func(t *testing.T) {
		i.registry.Stop()
		i.private.Stop()
		checkDown(t, before, foreign, i.name)
	})
}

// image has the program and a layer of its own.
func (i *imagesTest) image(t *testing.T, own string) v1.Image {
	t.Helper()
	return imageOf(t, goArch(t), i.program, fileLayer(t, "own", []byte(own)))
}

// archive holds one image with a layer of that content.
func (i *imagesTest) archive(t *testing.T, own, ref string) string {
	t.Helper()
	file := filepath.Join(i.dir, own+".tar")
	saveImages(t, file, map[string]v1.Image{ref: i.image(t, own)})
	return file
}

// runs wants a pod of the image to become ready on each node, and removes them.
func (i *imagesTest) runs(t *testing.T, pod, image, policy string) {
	t.Helper()
	i.starts(t, pod, image, policy)
	i.kubectl(t, "delete", "pod", "-l", "app="+pod, "--wait")
}

func (i *imagesTest) starts(t *testing.T, pod, image, policy string) {
	t.Helper()
	for at, node := range i.nodes() {
		i.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s-%d, labels: {app: %[1]s}}
spec:
  nodeName: %[3]s
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: %[4]q, imagePullPolicy: %[5]s, args: [serve]}
`, pod, at, node, image, policy))
	}
	i.kubectl(t, "wait", "pod", "-l", "app="+pod, "--for=condition=Ready", "--timeout=60s")
}

type loadedNode struct {
	Node        string
	Blobs, Sent int
	Bytes       int64
}

// wantSent loads an archive and wants each node to be sent these blobs.
func (i *imagesTest) wantSent(t *testing.T, file string, sent, all int, size int64) {
	t.Helper()
	var answer struct {
		Images []struct{ Name string }
		Nodes  []loadedNode
	}
	if err := json.Unmarshal([]byte(slipway(t, "images", "load", i.name, file, "-o", "json").stdout), &answer); err != nil {
		t.Fatal(err)
	}
	want := []loadedNode{{i.nodes()[0], all, sent, size}, {i.nodes()[1], all, sent, size}}
	if !slices.Equal(answer.Nodes, want) {
		t.Errorf("%s: the nodes were sent %+v, want %+v", filepath.Base(file), answer.Nodes, want)
	}
}

// onlyNew loads images that share the layer with the program, which came with the launch.
func (i *imagesTest) onlyNew(t *testing.T) {
	first, second := i.archive(t, "first", "app:1"), i.archive(t, "second", "app:2")
	i.wantSent(t, first, 3, 4, i.small(t, first)) // its own layer, its configuration and its manifest
	i.wantSent(t, first, 0, 4, 0)
	i.wantSent(t, second, 3, 4, i.small(t, second))
	r := slipway(t, "images", "load", i.name, first, second)
	if r.stdout != "docker.io/library/app:1\ndocker.io/library/app:2\n" ||
		strings.Count(r.stderr, "was sent 0 of 7 blobs") != 2 {
		t.Errorf("loading both again: %v", r)
	}
	t.Log(r)
	i.runs(t, "app", "app:1", "Never")
}

// small is the size of what the image in an archive has besides the program.
func (i *imagesTest) small(t *testing.T, file string) (size int64) {
	t.Helper()
	program, err := i.program.Digest()
	if err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(t.Context(), file, i.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, d := range a.Images[0].Blobs {
		if d.Digest.String() != program.String() {
			size += d.Size
		}
	}
	return size
}

type listedImage struct {
	Name, ID, Digest string
	Size             int64
	Cluster          bool
	Nodes, Lacking   []string
}

func (i *imagesTest) listed(t *testing.T) map[string]listedImage {
	t.Helper()
	var list []listedImage
	if err := json.Unmarshal([]byte(slipway(t, "images", "list", i.name, "-o", "json").stdout), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]listedImage{}
	for _, one := range list {
		out[one.Name] = one
	}
	return out
}

// list shows on which nodes an image is, and that of the cluster beside the user's.
func (i *imagesTest) list(t *testing.T) {
	const app = "docker.io/library/app:2"
	all := i.listed(t)
	if got := all[app]; !slices.Equal(got.Nodes, i.nodes()) || len(got.Lacking) > 0 || got.Cluster || got.ID == "" || got.Size == 0 {
		t.Errorf("listed as %+v", got)
	}
	ours := func(l listedImage) bool { return l.Cluster && strings.Contains(l.Name, "coredns") }
	if !slices.ContainsFunc(slices.Collect(maps.Values(all)), ours) {
		t.Errorf("the cluster's own are not listed: %v", all)
	}
	slipway(t, "ssh", i.name, "img-worker-1", "--", "ctr", "-n", "k8s.io", "images", "rm", app)
	if got := i.listed(t)[app]; !slices.Equal(got.Lacking, []string{"img-worker-1"}) {
		t.Errorf("after one node lost it: %+v", got)
	}
	text := slipway(t, "images", "list", i.name).stdout
	t.Log("\n" + text)
	if !strings.Contains(text, "all but img-worker-1") {
		t.Error("the table does not say which node lacks it")
	}
	slipway(t, "images", "load", i.name, filepath.Join(i.dir, "second.tar"))
	if got := i.listed(t)[app]; len(got.Lacking) > 0 {
		t.Errorf("after it was loaded again: %+v", got)
	}
}

// refused: what is wrong with any file is said, and nothing of the others is loaded.
func (i *imagesTest) refused(t *testing.T) {
	text := filepath.Join(i.dir, "text.tar")
	foreign := filepath.Join(i.dir, "foreign.tar")
	damaged := i.archive(t, "damaged", "damaged:1")
	saveImages(t, foreign, map[string]v1.Image{"foreign:1": imageOf(t, "s390x", i.program)})
	data, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{text: []byte("text"), damaged: data[:len(data)-len(data)/3]} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flipped := i.archive(t, "flipped", "flipped:1")
	if data, err = os.ReadFile(flipped); err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 1 // in the layer with the program
	if err := os.WriteFile(flipped, data, 0o600); err != nil {
		t.Fatal(err)
	}
	before := i.listed(t)
	refusal{id: "image-unreadable", says: flipped}.check(t, invocation{args: []string{"images", "load", i.name, flipped}}.run(t))
	r := invocation{args: []string{"images", "load", i.name, i.archive(t, "good", "good:1"), text, foreign, damaged}}.run(t)
	if r.code != 1 || strings.Count(r.stderr, "error[image-unreadable]") != 2 || strings.Count(r.stderr, "error[image-platform]") != 1 {
		t.Errorf("%v", r)
	}
	if after := i.listed(t); len(after) != len(before) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// inUse: an image that pods run from stays, and so does one of the cluster, and all others that were named with them.
func (i *imagesTest) inUse(t *testing.T) {
	i.starts(t, "using", "app:1", "Never")
	before := i.listed(t)
	r := invocation{args: []string{"images", "remove", i.name, "app:1", "app:2", "none:1", "registry.k8s.io/coredns/coredns:v0"}}.run(t)
	if r.code != 1 || strings.Count(r.stderr, "error[image-in-use]") != 2 || strings.Count(r.stderr, "error[image-unknown]") != 2 ||
		!strings.Contains(r.stderr, "img-worker-1") || !strings.Contains(r.stderr, "default/using-1") {
		t.Errorf("%v", r)
	}
	for name, image := range before {
		if strings.Contains(name, "coredns") {
			refusal{id: "image-in-use"}.check(t, invocation{args: []string{"images", "remove", "--force", i.name, image.Name}}.run(t))
		}
	}
	if after := i.listed(t); len(after) != len(before) {
		t.Errorf("before %v, after %v", before, after)
	}
	i.kubectl(t, "delete", "pod", "-l", "app=using", "--wait")
}

// roundTrip saves two images, removes them, and loads what was saved.
func (i *imagesTest) roundTrip(t *testing.T) {
	before := i.listed(t)
	file := filepath.Join(i.dir, "saved.tar")
	refusal{id: "image-unknown"}.check(t, invocation{args: []string{"images", "save", i.name, "app:1", "none:1", "-f", file}}.run(t))
	if _, err := os.Stat(file); err == nil {
		t.Error("a save that failed has left a file")
	}
	slipway(t, "images", "save", i.name, "app:1", "docker.io/library/app:2", "--file", file)
	slipway(t, "images", "remove", i.name, "app:1", "app:2")
	if after := i.listed(t); len(after) != len(before)-2 || after["docker.io/library/app:1"].Name != "" {
		t.Errorf("left are %v", after)
	}
	i.kubectl(t, "run", "gone", "--image=app:1", "--image-pull-policy=Never", "--overrides", `{"spec":{"nodeName":"img-worker-1"}}`)
	eventually(t, "a pod misses the image", answerLimit, func() error {
		if why := i.kubectl(t, "get", "pod", "gone", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}"); why != "ErrImageNeverPull" {
			return fmt.Errorf("it says %q", why)
		}
		return nil
	})
	i.kubectl(t, "delete", "pod", "gone", "--wait")
	zip := exec.Command("gzip", "-k", file)
	if out, err := zip.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	slipway(t, "images", "load", i.name, file+".gz")
	after := i.listed(t)
	for _, name := range []string{"docker.io/library/app:1", "docker.io/library/app:2"} {
		if after[name].Digest != before[name].Digest || len(after[name].Nodes) != 2 {
			t.Errorf("%s is %+v, before %+v", name, after[name], before[name])
		}
	}
	i.runs(t, "back", "app:2", "Never")
}

// interrupted stops a load while a layer is on its way; nothing of it counts until the same command has run to its end.
func (i *imagesTest) interrupted(t *testing.T) {
	const image = "slipway.test/large:1"
	file := filepath.Join(i.dir, "large.tar")
	noise := make([]byte, 400<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // it never fails
	saveImages(t, file, map[string]v1.Image{image: imageOf(t, goArch(t), i.program, fileLayer(t, "noise", noise))})
	load := exec.Command(binary(), "images", "load", i.name, file)
	var stderr bytes.Buffer
	load.Stderr = &stderr
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	arriving := filepath.Join(os.Getenv(stateVar), "clusters", i.name, "machines/*/data/containerd/io.containerd.content.v1.content/ingest/*/data")
	eventually(t, "a layer is on its way", time.Minute, func() error {
		found, err := filepath.Glob(arriving)
		if err == nil && len(found) == 0 {
			err = errors.New("there is none")
		}
		return err
	})
	if err := load.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = load.Wait() // what it says is looked at
	if code := load.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
	if _, ok := i.listed(t)[image]; ok {
		t.Error("it is listed already")
	}
	slipway(t, "images", "load", i.name, file)
	i.runs(t, "large", image, "Never")
	slipway(t, "images", "remove", i.name, image)
	sandbox := regexp.MustCompile(`^[0-9a-f]{64}$`) // those of pods have their identifiers
	for _, node := range i.nodes() {
		for lease := range strings.FieldsSeq(slipway(t, "ssh", i.name, node, "--", "ctr", "-n", "k8s.io", "leases", "list", "-q").stdout) {
			if !sandbox.MatchString(lease) {
				t.Errorf("on %s there still is the lease %s", node, lease)
			}
		}
	}
}

// upAgain changes nothing but what is new in a file.
func (i *imagesTest) upAgain(t *testing.T) {
	up := func(more ...string) []string {
		return append(append([]string{"up", "--name", i.name, "--egress=false"}, i.flags...), more...)
	}
	slipway(t, up()...)
	slipway(t, up("--image", i.archive(t, "later", "later:1"))...)
	if got := i.listed(t)["docker.io/library/later:1"]; len(got.Nodes) != 2 {
		t.Errorf("got %+v", got)
	}
	refusal{id: "cluster-differs"}.check(t, invocation{args: up("--registry-mirror", "quay.io=http://localhost:1")}.run(t))
	r := invocation{args: up("--registry-mirror", "quay.io=ftp://x", "--image", filepath.Join(i.dir, "text.tar"), "--control-planes", "2")}.run(t)
	if r.code != 1 || strings.Count(r.stderr, "error[option-invalid]") != 2 || strings.Count(r.stderr, "error[image-unreadable]") != 1 {
		t.Errorf("%v", r)
	}
}
