package config_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"slipway.dev/slipway/bootstrap/config"
)

func schema(t *testing.T, kind string) *jsonschema.Schema {
	t.Helper()
	text, err := config.Schema(kind)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a file as an editor sees it.
func instance(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSchemaTakesExamples: as they are, and with all that is commented out.
func TestSchemaTakesExamples(t *testing.T) {
	for _, kind := range config.Kinds() {
		text, err := config.Example(kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range []string{string(text), regexp.MustCompile(`(?m)^#(\S|  )`).ReplaceAllString(string(text), "$1")} {
			if err := schema(t, kind).Validate(instance(t, one)); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

// TestSchemaRefuses what reading the file refuses too.
func TestSchemaRefuses(t *testing.T) {
	s := schema(t, config.LocalKind)
	const header = "apiVersion: slipway.dev/v1alpha1\nkind: LocalCluster\n"
	for _, text := range []string{
		"{}", "kind: LocalCluster\n", strings.Replace(header, "Local", "Global", 1), strings.Replace(header, "v1alpha1", "v1", 1),
		header + "podCidr: x", header + "workers: many", header + "cni: cilium", header + "kubelet: {maxpods: 3}", header + "kubelet: {maxPods: a}",
		header + "kubelet: {syncFrequency: 3}", header + "kubelet: {staticPodPath: /x}", header + "mounts: [{hostPath: a, target: b}]", header + "apiServer: {args: {}}",
		header + "featureGates: {A: 1}", header + "roles: {workers: {}}",
	} {
		if s.Validate(instance(t, text)) == nil {
			t.Errorf("it takes %q", text)
		}
	}
	for _, text := range []string{
		header, header + "kubernetesVersion: 1.37\n", header + "apiServer: {extraArgs: {v: 2, profiling: true}}\n",
		header + "kubelet: {kind: KubeletConfiguration, memoryThrottlingFactor: 0.5, containerLogMaxSize: 10Mi}\n",
	} {
		if err := s.Validate(instance(t, text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestSchemaDescribes: each field of our own says what it is for.
func TestSchemaDescribes(t *testing.T) {
	for _, kind := range config.Kinds() {
		text, err := config.Schema(kind)
		if err != nil {
			t.Fatal(err)
		}
		var s map[string]any
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		described(t, kind, s)
	}
}

func described(t *testing.T, path string, s map[string]any) {
	t.Helper()
	if items, ok := s["items"].(map[string]any); ok {
		described(t, path+"[]", items)
	}
	fields, _ := s["properties"].(map[string]any)
	for name, v := range fields {
		field, _ := v.(map[string]any)
		if field["description"] == nil {
			t.Errorf("%s.%s has no description", path, name)
		}
		if name != "kubelet" { // whose fields are Kubernetes'
			described(t, path+"."+name, field)
		}
	}
}
