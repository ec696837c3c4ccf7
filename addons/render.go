package addons

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"slipway.dev/slipway/internal/fault"
)

const namespace = "kube-system"

// Manifests is upstream's text: component of the bundle -> path in it -> content.
type Manifests = map[string]map[string][]byte

// Addon is one thing that is applied and waited for as a whole.
type Addon struct {
	Name    string
	Objects []*unstructured.Unstructured
	Waits   []Wait
}

// Wait names a workload that must be ready before the addon is.
type Wait struct {
	Kind string // KindDaemonSet or KindDeployment
	Name string
	Min  int // pods there must at least be: a DaemonSet with one of three nodes registered is not done
}

// Kinds of workloads that can be waited for.
const (
	KindDaemonSet  = "DaemonSet"
	KindDeployment = "Deployment"
)

type renderer struct {
	name   string
	render func(Config, Manifests) (Addon, error)
}

// Render gives the addons of a cluster. They do not depend on each other and may be applied at the
// same time.
func Render(cfg Config, manifests Manifests) ([]Addon, error) {
	if err := cfg.validate(); err != nil {
		return nil, fault.New("addon-config-invalid", "render the addons", err, "correct the cluster's configuration")
	}
	renderers := []renderer{
		{"kube-proxy", kubeProxy},
		{"calico", calico},
		{"coredns", coreDNS},
	}
	if len(controllersOf(cfg)) > 0 {
		renderers = append(renderers, renderer{"slipway-controllers", ownControllers})
	}
	var out []Addon
	for _, r := range renderers {
		a, err := r.render(cfg, manifests)
		if err != nil {
			return nil, unexpected(fmt.Sprintf("render addon %q", r.name), err)
		}
		a.Name = r.name
		out = append(out, a)
	}
	return out, nil
}

func unexpected(op string, err error) error {
	return fault.New("addon-manifest-unexpected", op, err, "use a bundle built by this version of slipway: slipway images build")
}
