package node

import (
	"context"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
)

// Steps lists what makes a host the node of spec. Each step runs as soon as those it needs have ended.
func Steps(ctx context.Context, spec *bootstrap.NodeSpec, host *engine.Host, b *images.Bundle) ([]engine.Step, error) {
	n, err := newBuilder(ctx, spec, host, b)
	if err != nil {
		return nil, err
	}
	return n.steps(), nil
}

// steps is the one list: what a run does, what a plan shows, what can be skipped, what is undone.
func (n *builder) steps() []engine.Step {
	steps := []engine.Step{
		n.directories("directories"),
		n.sharedMounts("shared-mounts"),
		n.kernel("kernel"),
		n.podNetwork("pod-network", "kernel"),
		n.binaries("binaries", nil, "directories"),
		n.certificates("certificates", "directories"),
		n.containerd("containerd", "shared-mounts", "kernel", "binaries"),
	}
	imports, first := n.imports("containerd")
	steps = append(steps, imports...)
	kubelet := []string{"certificates", first, "pod-network"}
	if n.hasPlugin() && !n.Cluster.NoCNI {
		steps = append(steps, n.plugin("cni-plugin", "pod-network", "binaries"))
		kubelet = append(kubelet, "cni-plugin")
	}
	for _, s := range n.balancing() {
		steps = append(steps, s)
		kubelet = append(kubelet, s.Name)
	}
	switch {
	case n.findsData(): // its API server can only start once its etcd has a vote, or this cluster's data
		before := n.etcdFirst("kubelet")
		steps = append(steps,
			n.apiServerConfig("apiserver-config", "directories"),
			n.kubelet("kubelet", kubelet...),
			before,
			n.staticPods("static-pods", "apiserver-config", before.Name),
			n.api("api", "static-pods"),
		)
	case n.Node.ControlPlane:
		steps = append(steps,
			n.apiServerConfig("apiserver-config", "directories"),
			n.staticPods("static-pods", "certificates", "apiserver-config", first),
			n.kubelet("kubelet", append(kubelet, "static-pods")...),
			n.api("api", "kubelet"),
		)
	default:
		steps = append(steps,
			n.kubelet("kubelet", kubelet...),
			n.api("api", "kubelet"),
		)
	}
	steps = append(steps, n.endPods("end-pods", "api")...)
	if n.Node.Init {
		steps = append(steps, n.objects("api")...)
	}
	if n.Node.ControlPlane {
		steps = append(steps, n.controllers("controllers", n.beforeControllers()...), n.mark("mark", "api"))
		steps = append(steps, n.virtualIPReady("virtual-ip-ready", "api")...)
	}
	if n.Cluster.NoCNI {
		return steps // what needs the pods' network waits for the administrator's
	}
	steps = append(steps, n.nodeReady("node-ready", "api"))
	if n.Node.Init {
		for _, a := range n.addons {
			steps = append(steps, n.addonReady(a.Name+"-ready", a, a.Name))
		}
	}
	return steps
}

// objects are the steps that make those of the cluster.
func (n *builder) objects(needs ...string) []engine.Step {
	steps := []engine.Step{n.clusterConfig("cluster-config", needs...)}
	if n.Invite != nil {
		steps = append(steps, n.invite("invite", "cluster-config"))
	}
	if n.isCopied() {
		steps = append(steps, n.copiedTokens(copied, needs...))
	}
	for _, a := range n.addons {
		steps = append(steps, n.applyAddon(a.Name, a, needs...))
	}
	return steps
}

// copied is the last step that concerns the data of another cluster.
const copied = "copied-tokens"

// imports gives the steps that import images, and the one that must have ended before the kubelet starts. Where a cluster
// begins, that is not the last: the API server starts meanwhile, and no other pod comes to this node before the controllers run.
func (n *builder) imports(needs ...string) (steps []engine.Step, first string) {
	const all = "images"
	if !n.Node.Init {
		return []engine.Step{n.importImages(all, nil, needs...)}, all
	}
	first = "api-images"
	rest := n.importImages(all, nil, first)
	rest.Undo = nil // the first one's is for all, and comes after the kubelet has ended
	return []engine.Step{n.importImages(first, servesAPI, needs...), rest}, first
}

// balancing are the steps by which the API is reached, whichever control plane lives. They come before the kubelet, which runs
// keepalived: that has ended then when its traces are removed.
func (n *builder) balancing() (steps []engine.Step) {
	if n.Cluster.Balanced {
		steps = append(steps,
			n.program("program", "directories"),
			n.loadBalancer("balancer", "program", "certificates"),
		)
	}
	if n.hasVirtualIP() {
		steps = append(steps, n.virtualIP("virtual-ip", "directories"))
	}
	return steps
}

// beforeControllers are the steps that the controller manager and the scheduler wait for. Before the first API server is ready, they
// are refused, and ask again only after some seconds, while they take the processor from those that they wait for. In a cluster
// that runs they only stand by.
func (n *builder) beforeControllers() []string {
	if n.Node.Joins {
		return []string{"static-pods"}
	}
	if n.Node.Init && n.isCopied() {
		return []string{"api", "images", copied}
	}
	return []string{"api", "images"}
}
