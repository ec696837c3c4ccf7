package localcluster

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/internal/fault"
)

func TestMirrors(t *testing.T) {
	gateway := netip.MustParseAddr("192.0.2.1")
	for text, want := range map[string]struct {
		mirror string // as nodes know it
		ports  string // of loopback
	}{
		"docker.io=http://localhost:5000":          {"docker.io=http://192.0.2.1:5000", "[5000]"},
		"http://localhost:5000":                    {"localhost:5000=http://192.0.2.1:5000", "[5000]"},
		"http://127.0.0.1:5000/":                   {"127.0.0.1:5000=http://192.0.2.1:5000", "[5000]"},
		"https://registry.localhost:5001":          {"registry.localhost:5001=https://registry.localhost:5001", "[5001]"},
		"https://registry.localhost":               {"registry.localhost=https://registry.localhost", "[443]"},
		"*=http://registry.example":                {"*=http://registry.example", "[]"},
		"quay.io=https://registry.example:5000":    {"quay.io=https://registry.example:5000", "[]"},
		"localhost:5000=http://192.0.2.7:5000":     {"localhost:5000=http://192.0.2.7:5000", "[]"},
		"registry.example:5000=http://localhost:1": {"registry.example:5000=http://192.0.2.1:1", "[1]"},
	} {
		got, err := parseMirrors([]string{text}, "")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if s := describe(fromNodes(got, gateway)); s != want.mirror || got[0].Only == strings.Contains(text, "=") {
			t.Errorf("%s: got %s, only %v, want %s", text, s, got[0].Only, want.mirror)
		}
		if p := fmt.Sprint(loopbackPorts(got)); p != want.ports {
			t.Errorf("%s: ports %s, want %s", text, p, want.ports)
		}
	}
}

func TestMirrorsRefused(t *testing.T) {
	bad := []string{
		"", "docker.io", "docker.io=", "=http://localhost:5000", "docker.io=localhost:5000", "ftp://localhost:5000",
		"http://localhost:0", "http://localhost:65536", "http://localhost:x", "http://u:p@localhost:5000", "http://localhost:5000/v2",
		"http://localhost:5000?a=b", "https://localhost:5000", "https://127.0.0.1:5000", "http://127.0.0.2:5000", "http://[::1]:5000",
		"Docker.io=http://localhost:5000", "docker=http://localhost:5000", "docker.io/library=http://localhost:5000", "a b=http://localhost:5000",
	}
	_, err := parseMirrors(bad, "")
	found := fault.All(err)
	if len(found) != len(bad) {
		t.Errorf("%d of %d were refused: %v", len(found), len(bad), err)
	}
	for _, f := range found {
		if f.ID != "option-invalid" {
			t.Errorf("got %v", f)
		}
	}
	for _, twice := range [][]string{
		{"docker.io=http://a.example", "docker.io=http://a.example"},
		{"http://a.example", "a.example=http://b.example"},
	} {
		if _, err := parseMirrors(twice, ""); len(fault.All(err)) != 1 {
			t.Errorf("%q: got %v", twice, err)
		}
	}
	both, err := parseMirrors([]string{"docker.io=http://a.example", "docker.io=http://b.example"}, "")
	if err != nil || len(both) != 2 {
		t.Errorf("two mirrors of one registry: %v, %v", both, err)
	}
}

func TestMirrorAuthorities(t *testing.T) {
	text := []string{"https://registry.example", "docker.io=http://localhost:5000"}
	for _, file := range []string{filepath.Join(t.TempDir(), "none"), empty(t)} {
		if _, err := parseMirrors(text, file); len(fault.All(err)) != 1 || !strings.Contains(err.Error(), file) {
			t.Errorf("got %v", err)
		}
	}
	got, err := parseMirrors(text[1:], "/does-not-matter")
	if err != nil || slices.ContainsFunc(got, func(m bootstrap.Mirror) bool { return m.CA != "" }) {
		t.Errorf("a mirror without TLS: %v, %v", got, err)
	}
}

func empty(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// FuzzMirror: what is accepted becomes one directory's name and a URL that means the same again.
func FuzzMirror(f *testing.F) {
	for _, text := range []string{"docker.io=http://localhost:5000", "*=https://registry.example", "http://127.0.0.1:80", "../x=http://a.b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseMirrors([]string{text}, "")
		if err != nil {
			return
		}
		m := got[0]
		if m.Host != filepath.Base(m.Host) || m.Host == ".." || m.Host == "." || strings.ContainsAny(m.Host+m.URL, "\"\\\n ") {
			t.Errorf("%q became %+v", text, m)
		}
		if again, err := parseMirrors([]string{m.Host + "=" + m.URL}, ""); err != nil || again[0].URL != m.URL {
			t.Errorf("%q became %+v, and that %+v, %v", text, m, again, err)
		}
	})
}
