package bootstrap_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlaces: what distributions do differently is named in one file, and no package manager is named at all.
func TestPlaces(t *testing.T) {
	elsewhere := []string{
		"/etc/systemd/", "/usr/lib/systemd", "/usr/local/", "/usr/libexec", "/etc/sysctl.d/", "/etc/containerd/config", "/etc/cni/net.d",
		"/opt/cni/bin", "/run/systemd/", "/etc/resolv.conf", "/etc/default/", "/etc/sysconfig/", "apt-get", "dpkg", "yum ", "dnf ",
	}
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || path == "places.go" {
			return err
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			for _, place := range elsewhere {
				if strings.Contains(lit.Value, place) {
					t.Errorf("%s has %q, which belongs into places.go: %s", path, place, lit.Value)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("%d files: %v", files, err)
	}
}
