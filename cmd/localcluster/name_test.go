package localcluster

import (
	"fmt"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// FuzzName: with a name that is taken, nodes have names that Kubernetes and host names can have, and the cluster a directory of its own.
func FuzzName(f *testing.F) {
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if node := fmt.Sprintf("%s-worker-%d", name, maxNodes); len(validation.IsDNS1123Label(node)) > 0 {
			t.Errorf("%q is no name of a node", node)
		}
		d := Dirs{State: "/state"}
		if dir := home(d, name); filepath.Clean(dir) != dir || filepath.Dir(dir) != filepath.Dir(home(d, "other")) {
			t.Errorf("its directory is %q", dir)
		}
	})
}
