package addons

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// decode reads a stream of YAML documents; documents without content, or without one of the words, are passed over.
func decode(text []byte, words ...string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for n := 1; ; n++ {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if slices.ContainsFunc(words, func(word string) bool { return !bytes.Contains(doc, []byte(word)) }) {
			continue
		}
		u, err := decodeOne(doc)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if u != nil {
			out = append(out, u)
		}
	}
}

func decodeOne(doc []byte) (*unstructured.Unstructured, error) {
	json, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, err
	}
	if string(json) == "null" {
		return nil, nil
	}
	u := new(unstructured.Unstructured)
	if err := u.UnmarshalJSON(json); err != nil {
		return nil, err
	}
	if u.GetName() == "" || u.GetAPIVersion() == "" {
		return nil, errors.New("an object without name or apiVersion")
	}
	withoutServerFields(u.Object)
	return u, nil
}

// typed reads an object into its API type and refuses fields that type does not have.
func typed(u *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, into, true)
}

// untyped is the way back.
func untyped(from any) (map[string]any, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(from)
	if err != nil {
		return nil, err
	}
	withoutServerFields(content)
	return content, nil
}

// withoutServerFields drops what only a server may write, and generated manifests carry empty.
func withoutServerFields(content map[string]any) {
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(content, "spec", "template", "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(content, "status")
}

// describe names an object as every error of this package does: Kind/namespace/name.
func describe(u *unstructured.Unstructured) string {
	if u.GetNamespace() == "" {
		return u.GetKind() + "/" + u.GetName()
	}
	return u.GetKind() + "/" + u.GetNamespace() + "/" + u.GetName()
}
