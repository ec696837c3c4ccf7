package pins

import (
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/fault"
)

// Default is the minor that is used when none is asked for.
const Default = "1.37"

// Set is everything that belongs to one Kubernetes minor.
type Set struct {
	Minor      string // "1.37"
	Kubernetes string // "v1.37.1"
	Components []Component
	Upstreams  []Upstream
}

// Component is a part of the bundle. Ref is set for container images, Upstream for what is
// compiled or copied from a Go module.
type Component struct {
	Name, Version, Ref, Upstream string
}

// Upstream is a Go module and the version that the components are built from. Name is also
// the name of its files in images/upstream.
type Upstream struct {
	Name, Module, Version string
	Released              string // when upstream released it; stamped as the build date
}

// Minors lists the supported Kubernetes minors, oldest first.
func Minors() []string {
	var out []string
	for _, r := range releases() {
		out = append(out, r.minor)
	}
	return out
}

// For gives the pins of a minor ("1.37") or of the exact version pinned for it ("v1.37.1").
// The empty string is the default minor.
func For(version string) (Set, error) {
	want := strings.TrimPrefix(version, "v")
	if want == "" {
		want = Default
	}
	var known []string
	for _, r := range releases() {
		if want == r.minor || "v"+want == r.kubernetes {
			return r.set(), nil
		}
		known = append(known, r.kubernetes)
	}
	return Set{}, fault.New("unknown-version", fmt.Sprintf("find Kubernetes version %q", version),
		fmt.Errorf("the supported versions are %s", strings.Join(known, ", ")),
		"choose one of these versions, or its minor, such as "+Default)
}

// Component finds a component by its name.
func (s Set) Component(name string) (Component, bool) {
	i := slices.IndexFunc(s.Components, func(c Component) bool { return c.Name == name })
	if i < 0 {
		return Component{}, false
	}
	return s.Components[i], true
}

// Upstream finds an upstream by the start of its name: "etcd" finds "etcd-3.7".
func (s Set) Upstream(name string) (Upstream, bool) {
	i := slices.IndexFunc(s.Upstreams, func(u Upstream) bool {
		return u.Name == name || strings.HasPrefix(u.Name, name+"-")
	})
	if i < 0 {
		return Upstream{}, false
	}
	return s.Upstreams[i], true
}

// Images maps each image's component to its reference.
func (s Set) Images() map[string]string {
	out := map[string]string{}
	for _, c := range s.Components {
		if c.Ref != "" {
			out[c.Name] = c.Ref
		}
	}
	return out
}
