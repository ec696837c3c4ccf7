package config

import (
	_ "embed"

	"go.yaml.in/yaml/v3"
)

//go:embed descriptions.yaml
var descriptionsText []byte

// descriptions say what each field is for, by its name.
func descriptions() map[string]string {
	out := map[string]string{}
	_ = yaml.Unmarshal(descriptionsText, &out) // a test reads it too
	return out
}

// enums are the values of fields that take only some.
func enums() map[string][]string {
	return map[string][]string{
		"cni":          {"calico", "none"},
		"keyAlgorithm": {"ecdsa", "rsa"},
		"role":         {"control-plane", "worker"},
		"effect":       {"NoSchedule", "PreferNoSchedule", "NoExecute"},
	}
}
