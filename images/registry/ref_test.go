package registry_test

import (
	"strings"
	"testing"

	"slipway.dev/slipway/images/registry"
)

func TestRefs(t *testing.T) {
	const hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for text, want := range map[string]string{
		"oci://registry.example:5000/slipway/bundle:v1.37.1":          "",
		"oci://registry/bundle:v1":                                    "", // a host without a dot is a host
		"oci://registry:5000/my.team/bundle:v1":                       "",
		"oci://[::1]:5000/bundle:v1":                                  "",
		"oci://registry.example/slipway/bundle@" + hash:               "",
		"oci://registry.example/slipway/bundle:v1@" + hash:            "oci://registry.example/slipway/bundle@" + hash,
		"oci://registry.example/bundle":                               "error",
		"oci://registry.example/":                                     "error",
		"oci://registry.example":                                      "error",
		"oci:///bundle:v1":                                            "error",
		"oci://registry.example/Bundle:v1":                            "error",
		"oci://user:word@registry.example/bundle:v1":                  "error",
		"oci://registry.example/bundle@sha256:0":                      "error",
		"oci://registry.example/b@sha512:" + strings.Repeat("0", 128): "error",
		"registry.example/bundle:v1":                                  "error",
	} {
		ref, err := registry.Parse(text)
		switch {
		case want == "error":
			wantFault(t, err, "option-invalid", text)
		case err != nil:
			t.Error(err)
		case ref.String() != text && ref.String() != want:
			t.Errorf("%s became %s", text, ref)
		}
	}
	for text, want := range map[string]bool{"oci://x/y:z": true, "./oci://x": false, "/media/bundle": false, "registry.example/bundle:v1": false, "": false} {
		if registry.IsRef(text) != want {
			t.Errorf("%q is a reference: %v", text, !want)
		}
	}
}
