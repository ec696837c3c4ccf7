package addons_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"slipway.dev/slipway/addons"
	"slipway.dev/slipway/internal/testenv"
)

// The modules that the bundle takes its manifests from; used where no bundle has been built yet.
const (
	calicoModule     = "github.com/projectcalico/calico@v1.11.0-cni-plugin.0.20250813170300-a0db560f0520"
	kubernetesModule = "k8s.io/kubernetes@v1.37.1"
)

type source struct {
	manifests addons.Manifests
	err       error
}

var upstream = sync.OnceValue(func() source {
	if m, err := manifestsOfBundle(); err == nil {
		return source{manifests: m}
	}
	m, err := manifestsOfModules()
	return source{m, err}
})

// manifests is upstream's text, a copy for each test to damage.
func manifests(t *testing.T) addons.Manifests {
	t.Helper()
	s := upstream()
	if s.err != nil {
		testenv.Lacks(t, "needs a bundle or the pinned modules: %v", s.err)
	}
	out := addons.Manifests{}
	for component, files := range s.manifests {
		out[component] = map[string][]byte{}
		for path, text := range files {
			out[component][path] = text
		}
	}
	return out
}

func manifestsOfBundle() (addons.Manifests, error) {
	b, err := testenv.FindBundle()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "slipway-addons-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := addons.Manifests{}
	for _, component := range []string{"calico-manifests", "coredns-manifests"} {
		tree := filepath.Join(dir, component)
		if err := os.Mkdir(tree, 0o755); err != nil {
			return nil, err
		}
		if err := b.Extract(component, tree); err != nil {
			return nil, err
		}
		if out[component], err = files(tree, ""); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func manifestsOfModules() (addons.Manifests, error) {
	calico, err := moduleDir(calicoModule)
	if err != nil {
		return nil, err
	}
	kubernetes, err := moduleDir(kubernetesModule)
	if err != nil {
		return nil, err
	}
	c, err := files(filepath.Join(calico, "manifests"), "calico/")
	if err != nil {
		return nil, err
	}
	d, err := files(filepath.Join(kubernetes, "cluster/addons/dns/coredns"), "coredns/")
	return addons.Manifests{"calico-manifests": c, "coredns-manifests": d}, err
}

func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return "", err
	}
	var m struct{ Dir string }
	err = json.Unmarshal(out, &m)
	return m.Dir, err
}

func files(dir, prefix string) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[prefix+strings.TrimPrefix(path, dir+"/")] = data
		return err
	})
	return out, err
}
