package pins_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"

	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/images/upstream"
	"slipway.dev/slipway/internal/fault"
)

func TestFor(t *testing.T) {
	for version, want := range map[string]string{
		"": "v1.37.1", "1.37": "v1.37.1", "v1.37": "v1.37.1", "v1.37.1": "v1.37.1", "1.36.4": "v1.36.4", "1.35": "v1.35.8",
	} {
		s, err := pins.For(version)
		if err != nil || s.Kubernetes != want {
			t.Errorf("For(%q) = %q, %v; want %q", version, s.Kubernetes, err, want)
		}
	}
	for _, version := range []string{"1.34", "v1.37.0", "latest", "1.37.", "1"} {
		_, err := pins.For(version)
		var f *fault.Error
		if !errors.As(err, &f) || f.ID != "unknown-version" || !strings.Contains(f.Error(), "v1.36.4") {
			t.Errorf("For(%q): %v; want unknown-version that lists the versions", version, err)
		}
	}
}

// each runs a check on every minor.
func each(t *testing.T, check func(t *testing.T, s pins.Set)) {
	t.Helper()
	for _, minor := range pins.Minors() {
		t.Run(minor, func(t *testing.T) {
			s, err := pins.For(minor)
			if err != nil {
				t.Fatal(err)
			}
			check(t, s)
		})
	}
}

func TestComponents(t *testing.T) {
	version := regexp.MustCompile(`^(v?\d+\.\d+\.\d+(-\d+-g[0-9a-f]+)?|bookworm)$`)
	each(t, func(t *testing.T, s pins.Set) {
		t.Helper()
		seen := map[string]bool{}
		for _, c := range s.Components {
			if seen[c.Name] {
				t.Errorf("%s is listed twice", c.Name)
			}
			seen[c.Name] = true
			if !version.MatchString(c.Version) {
				t.Errorf("%s has the version %q", c.Name, c.Version)
			}
			tag := strings.TrimPrefix(c.Ref[strings.LastIndex(c.Ref, ":")+1:], "v")
			if c.Ref != "" && !strings.HasPrefix(tag, strings.TrimPrefix(c.Version, "v")) {
				t.Errorf("%s %s has the reference %q", c.Name, c.Version, c.Ref)
			}
			if c.Upstream == "" {
				continue
			}
			if _, ok := s.Upstream(c.Upstream); !ok {
				t.Errorf("%s comes from %q, which is not listed", c.Name, c.Upstream)
			}
		}
	})
}

// The module files must require exactly what the table says, and the table must hold no module
// without checksums.
func TestUpstreams(t *testing.T) {
	each(t, func(t *testing.T, s pins.Set) {
		t.Helper()
		for _, u := range s.Upstreams {
			mod, sum, err := upstream.Module(u.Name)
			if err != nil {
				t.Error(err)
				continue
			}
			f, err := modfile.Parse(u.Name+".mod", mod, nil)
			if err != nil {
				t.Error(err)
				continue
			}
			if got := required(f, u.Module); got != u.Version {
				t.Errorf("%s.mod requires %s %q, the table %q", u.Name, u.Module, got, u.Version)
			}
			if !strings.Contains(string(sum), u.Module+" "+u.Version+" h1:") {
				t.Errorf("%s.sum has no checksum of %s %s", u.Name, u.Module, u.Version)
			}
			if _, err := time.Parse(time.RFC3339, u.Released); err != nil {
				t.Errorf("%s: %v", u.Name, err)
			}
		}
	})
}

func required(f *modfile.File, module string) string {
	for _, r := range f.Require {
		if r.Mod.Path == module {
			return r.Mod.Version
		}
	}
	return ""
}

// Kubernetes' libraries carry the release's own number; one that lags behind would be a mix.
func TestKubernetesLibraries(t *testing.T) {
	each(t, func(t *testing.T, s pins.Set) {
		t.Helper()
		u, ok := s.Upstream("kubernetes")
		if !ok || !strings.HasPrefix(u.Version, "v"+s.Minor+".") {
			t.Fatalf("minor %s has Kubernetes %q", s.Minor, u.Version)
		}
		mod, _, err := upstream.Module(u.Name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := modfile.Parse(u.Name+".mod", mod, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := "v0" + strings.TrimPrefix(s.Kubernetes, "v1")
		for _, r := range f.Replace {
			if r.New.Version != want {
				t.Errorf("%s is replaced by %s, want %s", r.Old.Path, r.New.Version, want)
			}
		}
	})
}

func TestDefaultIsNewest(t *testing.T) {
	minors := pins.Minors()
	if minors[len(minors)-1] != pins.Default {
		t.Errorf("the default is %s of %v", pins.Default, minors)
	}
}
