package registry_test

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/testenv/testregistry"
)

func TestTLS(t *testing.T) {
	reg := testregistry.Start(t, testregistry.Options{TLS: true})
	theirs := testregistry.Start(t, testregistry.Options{TLS: true})
	b := makeBundle(t, t.TempDir(), layers{"image-a": mib})
	ref := parse(t, "oci://"+reg.Addr+"/bundle:v1")
	trusting := registry.Options{CA: reg.CA}
	if _, err := registry.Push(t.Context(), b, ref, trusting, quiet); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		o     registry.Options
		fault string
	}{
		"its authority":           {trusting, ""},
		"the system's":            {registry.Options{}, "registry-untrusted"},
		"another authority":       {registry.Options{CA: theirs.CA}, "registry-untrusted"},
		"plain HTTP may be":       {registry.Options{PlainHTTP: true}, "registry-untrusted"},
		"a file that there isn't": {registry.Options{CA: reg.CA + "x"}, "option-invalid"},
		"a file that is none":     {registry.Options{CA: filepath.Join(b.Dir(), "index.json")}, "option-invalid"},
	} {
		r, err := registry.Open(t.Context(), ref, tt.o)
		switch {
		case tt.fault != "":
			wantFault(t, err, tt.fault, "")
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			r.Close()
		}
	}
	reg.Stop()
	_, err := registry.Open(t.Context(), ref, trusting)
	wantFault(t, err, "registry-unreachable", reg.Addr)
}

// TestLogin: who the user is comes from Docker's configuration.
func TestLogin(t *testing.T) {
	reg := testregistry.Start(t, testregistry.Options{User: "amy", Password: "secret"})
	b := makeBundle(t, t.TempDir(), layers{"image-a": mib})
	ref := parse(t, "oci://"+reg.Addr+"/bundle:v1")
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	t.Setenv("HOME", config)
	login := func(password string) {
		auth := base64.StdEncoding.EncodeToString([]byte("amy:" + password))
		write(t, filepath.Join(config, "config.json"), encode(t, map[string]any{"auths": map[string]any{reg.Addr: map[string]string{"auth": auth}}}))
	}
	_, err := registry.Push(t.Context(), b, ref, registry.Options{}, quiet)
	wantFault(t, err, "registry-denied", reg.Addr)
	login("wrong")
	_, err = registry.Push(t.Context(), b, ref, registry.Options{}, quiet)
	wantFault(t, err, "registry-denied", reg.Addr)
	_, err = registry.Open(t.Context(), ref, registry.Options{})
	wantFault(t, err, "registry-denied", reg.Addr)
	if strings.Contains(fmt.Sprint(err), "wrong") {
		t.Errorf("the error has the password: %v", err)
	}
	login("secret")
	push(t, b, ref)
	same(t, b.Dir(), mustPull(t, ref, t.TempDir()))
}
