package config

import (
	"embed"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"

	"slipway.dev/slipway/bootstrap/settings"
)

//go:embed examples/*.yaml
var examples embed.FS

// Kinds are all that there are.
func Kinds() []string { return []string{LocalKind, InitKind, JoinKind} }

// Example is a file with all fields of a kind, which says what is so without it. What has no default is commented out.
func Example(kind string) ([]byte, error) { return examples.ReadFile("examples/" + kind + ".yaml") }

func kindType(kind string) (reflect.Type, error) {
	switch kind {
	case LocalKind:
		return reflect.TypeFor[LocalCluster](), nil
	case InitKind:
		return reflect.TypeFor[InitConfiguration](), nil
	case JoinKind:
		return reflect.TypeFor[JoinConfiguration](), nil
	}
	return nil, fmt.Errorf("there is no kind %q", kind)
}

// schema is a part of a JSON Schema: https://json-schema.org/draft/2020-12
type schema map[string]any

// Schema gives the JSON Schema of a kind.
func Schema(kind string) ([]byte, error) {
	t, err := kindType(kind)
	if err != nil {
		return nil, err
	}
	s := schemaOf(t, "yaml")
	s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", kind
	s["required"] = []string{"apiVersion", "kind"}
	p, _ := s["properties"].(schema)
	p["apiVersion"] = schema{"const": APIVersion, "description": descriptions()["apiVersion"]}
	p["kind"] = schema{"const": kind, "description": descriptions()["kind"]}
	if _, ok := p["kubelet"]; ok {
		part := schemaOf(reflect.TypeFor[kubelet.KubeletConfiguration](), "json")
		part["description"] = descriptions()["kubelet"]
		fields, _ := part["properties"].(schema)
		for name := range settings.OwnedByKubelet() {
			delete(fields, name)
		}
		p["kubelet"] = part
	}
	return json.MarshalIndent(s, "", "  ")
}

// schemaOf describes a type by the names that its fields have in YAML, for our own types, or in JSON, for Kubernetes'.
func schemaOf(t reflect.Type, tag string) schema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[time.Duration]() || t == reflect.TypeFor[metav1.Duration]() {
		return schema{"type": "string", "examples": []string{"90s", "24h"}}
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) { // such as a quantity
		return schema{"type": []string{"string", "number"}}
	}
	switch t.Kind() {
	case reflect.Slice:
		return schema{"type": "array", "items": schemaOf(t.Elem(), tag)}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": schemaOf(t.Elem(), tag)}
	case reflect.Struct:
		return structSchema(t, tag)
	case reflect.Interface:
		return schema{}
	default:
		return schema{"type": scalarType(t.Kind())}
	}
}

func scalarType(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Float64:
		return "number"
	default:
		return "integer"
	}
}

func structSchema(t reflect.Type, tag string) schema {
	properties := schema{}
	texts := descriptions()
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get(tag), ",")
		if name == "" || name == "-" {
			continue
		}
		s := schemaOf(f.Type, tag)
		if tag == "yaml" { // our own
			describe(name, texts[name], s)
		}
		properties[name] = s
	}
	return schema{"type": "object", "properties": properties, "additionalProperties": false}
}

// describe also lets texts that look like something else to YAML be written as they are, since they are read as they are written.
func describe(name, text string, s schema) {
	if text != "" {
		s["description"] = text
	}
	if values := enums()[name]; values != nil {
		s["enum"] = values
	}
	switch name {
	case "kubernetesVersion":
		s["type"] = []string{"string", "number"}
	case "extraArgs":
		s["additionalProperties"] = schema{"type": []string{"string", "number", "boolean"}}
	}
}

// fieldNames are those of the type of this name, which is t or somewhere below it.
func fieldNames(t reflect.Type, typeName string) (out []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" {
			continue // its own fields are visible
		}
		if t.Name() == typeName {
			out = append(out, name)
		}
		out = append(out, fieldNames(f.Type, typeName)...)
	}
	return out
}
