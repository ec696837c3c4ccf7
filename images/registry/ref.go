package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"

	"slipway.dev/slipway/internal/fault"
)

// scheme tells a reference from a path. Nothing is guessed: "registry.example/bundle" without it is a path.
const scheme = "oci://"

// IsRef tells whether text is meant as a reference to a registry, and not as the path of a directory.
func IsRef(text string) bool { return strings.HasPrefix(text, scheme) }

// Ref names a bundle in a registry, by a tag or by its digest.
type Ref struct {
	registry, repository string
	tag                  string
	digest               digest.Digest // of the index; it counts before the tag
}

// Parse reads oci://HOST[:PORT]/NAME:TAG or oci://HOST[:PORT]/NAME@sha256:DIGEST. A tag is not made up: what a name means today,
// it may not mean tomorrow. The fault is option-invalid.
func Parse(text string) (Ref, error) {
	r, err := parse(text)
	if err != nil {
		return Ref{}, fault.New("option-invalid", fmt.Sprintf("use the reference %q", text), err,
			"write it as in oci://registry.example:5000/slipway/bundle:v1.37.1, or with @sha256:DIGEST instead of the tag")
	}
	return r, nil
}

func parse(text string) (Ref, error) {
	rest, ok := strings.CutPrefix(text, scheme)
	if !ok {
		return Ref{}, fmt.Errorf("it does not begin with %q", scheme)
	}
	host, path, _ := strings.Cut(rest, "/")
	reg, err := name.NewRegistry(host, name.StrictValidation)
	if err != nil {
		return Ref{}, err
	}
	// The library takes the first part of a name for a registry only where it looks like one. Here it always is one.
	ref, err := name.ParseReference("registry.invalid/"+path, name.StrictValidation)
	if err != nil {
		return Ref{}, errors.New("after the registry it has no name with a tag or a digest")
	}
	out := Ref{registry: reg.RegistryStr(), repository: ref.Context().RepositoryStr()}
	if d, ok := ref.(name.Digest); ok {
		out.digest = digest.Digest(d.DigestStr())
		if out.digest.Algorithm() != digest.SHA256 {
			return Ref{}, errors.New("a bundle has a sha256 digest")
		}
		return out, nil
	}
	out.tag = ref.Identifier()
	return out, nil
}

// String writes the reference as it is given to Parse.
func (r Ref) String() string {
	if r.digest != "" {
		return scheme + r.registry + "/" + r.repository + "@" + r.digest.String()
	}
	return scheme + r.registry + "/" + r.repository + ":" + r.tag
}

// Digest is that of the bundle, or empty where only the registry knows what a tag means.
func (r Ref) Digest() string { return r.digest.String() }

// pinned is the reference by digest.
func (r Ref) pinned(d digest.Digest) Ref {
	r.tag, r.digest = "", d
	return r
}

// identifier is the last part of the path of its manifest.
func (r Ref) identifier() string {
	if r.digest != "" {
		return r.digest.String()
	}
	return r.tag
}
