package addons_test

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/addons"
)

var update = flag.Bool("update", false, "rewrite testdata")

// summary is what our patches decide about a workload; the rest is upstream's text, of which the
// repository holds no copy.
type summary struct {
	Replicas   any                     `json:"replicas,omitempty"`
	Host       bool                    `json:"hostNetwork,omitempty"`
	Containers map[string]containerSum `json:"containers"`
	Volumes    []string                `json:"volumes,omitempty"`
}

type containerSum struct {
	Image     string            `json:"image"`
	Env       map[string]string `json:"env,omitempty"`
	Requests  map[string]string `json:"requests,omitempty"`
	Limits    map[string]string `json:"limits,omitempty"`
	Startup   *corev1.Probe     `json:"startupProbe,omitempty"`
	Readiness *corev1.Probe     `json:"readinessProbe,omitempty"`
	Liveness  *corev1.Probe     `json:"livenessProbe,omitempty"`
	PostStart bool              `json:"postStart,omitempty"`
}

func TestRenderedAddonsMatchGoldens(t *testing.T) {
	for variant, cfg := range variants() {
		for name, a := range mustRender(t, cfg) {
			t.Run(variant+"/"+name, func(t *testing.T) {
				compare(t, filepath.Join("testdata", variant, name+".golden.yaml"), goldenOf(t, a))
			})
		}
	}
}

// goldenOf keeps our own objects whole and of upstream's what is configuration.
func goldenOf(t *testing.T, a addons.Addon) []byte {
	t.Helper()
	out := map[string]any{"waits": a.Waits}
	for _, u := range a.Objects {
		name := u.GetKind() + "/" + u.GetName()
		switch pod := podOf(t, u); {
		case pod != nil:
			s := summarize(pod)
			s.Replicas = u.Object["spec"].(map[string]any)["replicas"]
			out[name] = s
		case name == "ConfigMap/calico-config":
			data := maps.Clone(u.Object["data"].(map[string]any))
			delete(data, "cni_network_config") // TestPluginConfiguration looks at it
			out[name] = data
		case u.GetKind() == "ConfigMap":
			out[name] = u.Object["data"]
		case u.GetKind() == "Service":
			out[name] = u.Object["spec"].(map[string]any)["clusterIP"]
		}
	}
	text, err := yaml.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func summarize(pod *corev1.PodSpec) summary {
	s := summary{Host: pod.HostNetwork, Containers: map[string]containerSum{}}
	for _, v := range pod.Volumes {
		s.Volumes = append(s.Volumes, v.Name)
	}
	slices.Sort(s.Volumes)
	for _, c := range append(append([]corev1.Container{}, pod.InitContainers...), pod.Containers...) {
		s.Containers[c.Name] = containerSum{
			Image: c.Image, Env: env(c), Requests: quantities(c.Resources.Requests), Limits: quantities(c.Resources.Limits),
			Startup: c.StartupProbe, Readiness: c.ReadinessProbe, Liveness: c.LivenessProbe,
			PostStart: c.Lifecycle != nil && c.Lifecycle.PostStart != nil,
		}
	}
	return s
}

func env(c corev1.Container) map[string]string {
	out := map[string]string{}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			out[e.Name] = e.Value
		}
	}
	return out
}

func quantities(list corev1.ResourceList) map[string]string {
	out := map[string]string{}
	for name, q := range list {
		out[string(name)] = q.String()
	}
	return out
}

func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: write it with: go test ./addons -update", err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs; look at it with: go test ./addons -update && git diff\ngot:\n%s", path, got)
	}
}
