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
	steps := []engine.Step{
		n.sharedMounts("shared-mounts"),
		n.kernel("kernel"),
		n.binaries("binaries"),
		n.certificates("certificates"),
		n.containerd("containerd", "shared-mounts", "kernel", "binaries"),
		n.importImages("images", "containerd"),
	}
	if spec.Node.ControlPlane {
		steps = append(steps,
			n.apiServerConfig("apiserver-config"),
			n.staticPods("static-pods", "certificates", "apiserver-config", "images"),
		)
	}
	needs := []string{"certificates", "images"}
	if spec.Node.ControlPlane {
		needs = append(needs, "static-pods")
	}
	steps = append(steps,
		n.kubelet("kubelet", needs...),
		n.api("api", "kubelet"),
	)
	if spec.Node.Init {
		steps = append(steps, n.clusterConfig("cluster-config", "api"))
		for _, a := range n.addons {
			steps = append(steps, n.applyAddon(a.Name, a, "api"))
		}
	}
	if spec.Node.ControlPlane {
		steps = append(steps, n.mark("mark", "api"))
	}
	steps = append(steps, n.nodeReady("node-ready", "api"))
	if spec.Node.Init {
		for _, a := range n.addons {
			steps = append(steps, n.addonReady(a.Name+"-ready", a, a.Name))
		}
	}
	return steps, nil
}
