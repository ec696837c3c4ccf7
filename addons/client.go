package addons

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// quick is the configuration for a few dozen requests that must not wait for each other: no
// client-side rate limit, and no compression of what crosses one hop.
func quick(cfg *rest.Config) *rest.Config {
	c := rest.CopyConfig(cfg)
	c.QPS = -1
	c.DisableCompression = true
	if c.UserAgent == "" {
		c.UserAgent = "slipway"
	}
	return c
}

// client applies objects of any kind. All its parts share one HTTP/2 connection.
type client struct {
	dynamic   dynamic.Interface
	discovery discovery.DiscoveryInterfaceWithContext

	mu     sync.Mutex
	mapper meta.RESTMapperWithContext
}

func newClient(cfg *rest.Config) (*client, error) {
	c := quick(cfg)
	shared, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, err
	}
	d, err := discovery.NewDiscoveryClientForConfigAndClient(c, shared)
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfigAndClient(c, shared)
	if err != nil {
		return nil, err
	}
	return &client{dynamic: dyn, discovery: discovery.ToDiscoveryInterfaceWithContext(d)}, nil
}

// resource finds where objects like u are served. A kind that the server did not have when it was
// first asked may have come with a CustomResourceDefinition since, so then it is asked again.
func (c *client) resource(ctx context.Context, u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.mapping(ctx, u.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	r := c.dynamic.Resource(m.Resource)
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return r.Namespace(u.GetNamespace()), nil
	}
	return r, nil
}

func (c *client) mapping(ctx context.Context, gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	if c.mapper != nil {
		m, err := c.mapper.RESTMappingWithContext(ctx, gvk.GroupKind(), gvk.Version)
		if !meta.IsNoMatchError(err) {
			return m, err
		}
	}
	groups, err := restmapper.GetAPIGroupResourcesWithContext(ctx, c.discovery)
	if err != nil {
		return nil, fmt.Errorf("ask what the API server serves: %w", err)
	}
	c.mapper = restmapper.NewDiscoveryRESTMapperWithContext(groups)
	return c.mapper.RESTMappingWithContext(ctx, gvk.GroupKind(), gvk.Version)
}
