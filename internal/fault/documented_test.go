package fault_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// TestEveryIdentifierIsDocumented holds docs/errors.md and the sources together, both ways.
func TestEveryIdentifierIsDocumented(t *testing.T) {
	used, documented := identifiers(t), documentation(t)
	for id, where := range used {
		if !documented[id] {
			t.Errorf("%s uses %q, which docs/errors.md does not explain", where, id)
		}
	}
	for id := range documented {
		if used[id] == "" {
			t.Errorf("docs/errors.md explains %q, which nothing uses", id)
		}
	}
}

func documentation(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^### `([^`]+)`$").FindAllSubmatch(text, -1) {
		if out[string(m[1])] {
			t.Errorf("docs/errors.md explains %q twice", m[1])
		}
		out[string(m[1])] = true
	}
	return out
}

// identifiers gives each identifier with one place that uses it.
func identifiers(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return collect(t, path, out)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func collect(t *testing.T, path string, out map[string]string) error {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		id := identifier(n)
		if id == nil {
			return true
		}
		where := strings.TrimPrefix(files.Position(id.Pos()).String(), root+"/")
		if name, ok := literal(id); ok {
			out[name] = where
		} else if sel, ok := id.(*ast.SelectorExpr); !ok || sel.Sel.Name != "ID" { // handing one on is fine
			t.Errorf("%s: write the identifier itself, so that it can be searched for", where)
		}
		return true
	})
	return nil
}

// identifier gives the expression that identifies the fault that n makes, if n makes one.
func identifier(n ast.Node) ast.Expr {
	switch n := n.(type) {
	case *ast.CallExpr:
		if isFault(n.Fun, "New") && len(n.Args) > 0 {
			return n.Args[0]
		}
	case *ast.CompositeLit:
		if !isFault(n.Type, "Error") && !isName(n.Type, "Problem") {
			return nil
		}
		for _, e := range n.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok && isName(kv.Key, "ID") {
				return kv.Value
			}
		}
	}
	return nil
}

func isFault(e ast.Expr, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	return ok && isName(sel.X, "fault") && sel.Sel.Name == name
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
