package node

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"slipway.dev/slipway/addons"
	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
)

// builder has what the constructors of the steps close over.
type builder struct {
	*bootstrap.NodeSpec
	host   *engine.Host
	bundle *images.Bundle
	refs   map[string]string // image of each component
	addons []addons.Addon    // only where the objects of the cluster are made
}

func newBuilder(ctx context.Context, spec *bootstrap.NodeSpec, host *engine.Host, b *images.Bundle) (*builder, error) {
	b, err := withSandbox(b, spec.Node)
	if err != nil {
		return nil, err
	}
	n := &builder{NodeSpec: spec, host: host, bundle: b, refs: map[string]string{}}
	n.readRefs()
	if !spec.Node.Init || spec.Kept { // those of a cluster that runs may have been changed, and its nodes be fewer
		return n, nil
	}
	n.addons, err = n.renderAddons(ctx)
	return n, err
}

// externalEtcd tells whether etcd is not the cluster's own.
func (n *builder) externalEtcd() bool { return len(n.Cluster.ExternalEtcd) > 0 }

// joinsEtcd tells whether a member is to be added to the cluster's own.
func (n *builder) joinsEtcd() bool { return n.Node.Joins && !n.externalEtcd() }

func (n *builder) readRefs() {
	for _, c := range n.bundle.Components() {
		if c.Kind == images.KindImage {
			n.refs[c.Name] = c.Ref
		}
	}
}

func (n *builder) renderAddons(ctx context.Context) ([]addons.Addon, error) {
	manifests, err := n.manifestsOf(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := n.addonsConfig()
	if err != nil {
		return nil, err
	}
	list, err := addons.Render(cfg, manifests)
	if n.Cluster.NoCNI {
		list = slices.DeleteFunc(list, func(a addons.Addon) bool { return a.Name == "calico" })
	}
	return list, err
}

// manifestsOf reads what the bundle has of upstream's.
func (n *builder) manifestsOf(ctx context.Context) (addons.Manifests, error) {
	out := addons.Manifests{}
	for _, c := range n.bundle.Components() {
		if c.Kind != images.KindManifests {
			continue
		}
		files, err := n.bundle.Manifests(ctx, c.Name)
		if err != nil {
			return nil, err
		}
		out[c.Name] = files
	}
	return out, nil
}

func (n *builder) addonsConfig() (addons.Config, error) {
	host, port, err := n.endpoint()
	if err != nil {
		return addons.Config{}, err
	}
	c := n.Cluster
	direct, directPort := "", 0
	if c.Balanced {
		if !c.Closed {
			direct, directPort = host, port
		}
		host, port = loopback, bootstrap.BalancerPort
	}
	return addons.Config{
		DirectHost: direct, DirectPort: directPort, Approver: c.Balanced && !c.Closed, VirtualIP: c.VirtualIP.Addr(),
		LoadBalancers: c.LoadBalancers, NodePortsEverywhere: c.Closed, PluginInstalled: n.hasPlugin(),
		PodCIDR: c.PodCIDR, PodCIDR6: c.IPv6.Pods, ServiceCIDR: c.ServiceCIDR, DNSIP: c.DNSIP(), DNSDomain: c.DNSDomain,
		APIHost: host, APIPort: port, Images: n.refs, KubernetesVersion: c.KubernetesVersion,
		ControlPlanes: len(c.ControlPlanes), Nodes: len(c.ControlPlanes) + c.Workers,
		FeatureGates: c.Settings.ProxyGates(c.KubernetesVersion), UpstreamDNS: c.UpstreamDNS, Typha: c.Typha, ConntrackLimits: !n.Node.Shared,
	}, nil
}

func (n *builder) endpoint() (string, int, error) {
	host, text, err := net.SplitHostPort(n.Cluster.Endpoint)
	if err != nil {
		return "", 0, fmt.Errorf("read the API's address: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return "", 0, fmt.Errorf("read the API's address %q: %w", n.Cluster.Endpoint, err)
	}
	return host, port, nil
}

// filesStep is a step that consists of files only.
func (n *builder) filesStep(name string, files []engine.File, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) { return engine.Differing(files), nil },
		Do:    func(context.Context, func(string)) error { return n.host.WriteFiles(name, files) },
	}
}

// each puts the same words before all.
func each(words string, all []string) []string {
	var out []string
	for _, one := range all {
		out = append(out, words+one)
	}
	return out
}
