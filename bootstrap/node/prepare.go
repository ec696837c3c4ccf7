package node

import (
	"context"

	"golang.org/x/mod/semver"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
)

// kubeadmUnitText is the kubelet as kubeadm expects it:
// https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/kubelet-integration/#the-kubelet-drop-in-file-for-systemd
const kubeadmUnitText = `[Unit]
Description=kubelet
Documentation=https://kubernetes.io/docs/
Wants=containerd.service network-online.target
After=containerd.service network-online.target
StartLimitIntervalSec=0

[Service]
EnvironmentFile=-` + kubeletFlags + `
ExecStart=` + kubeletProgram + ` --bootstrap-kubeconfig=` + kubernetesDir + `/bootstrap-kubelet.conf --kubeconfig=` + kubeletKubeconfig +
	` --config=` + kubeletConfig + ` $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=10

[Install]
WantedBy=multi-user.target
`

// PrepareSteps lists what makes a host ready for kubeadm: programs, container runtime and images of the bundle, kubeadm
// itself and the kubelet's unit, which kubeadm starts.
func PrepareSteps(b *images.Bundle, shared bool, runtime *bootstrap.Runtime) ([]engine.Step, error) {
	journal, err := openJournal()
	if err != nil {
		return nil, err
	}
	// All images, as kubeadm has not said yet what this host will be.
	spec := &bootstrap.NodeSpec{Node: bootstrap.Node{ControlPlane: true, Shared: shared, Runtime: runtime}}
	n := &builder{NodeSpec: spec, host: engine.NewHost(journal), refs: map[string]string{}}
	if err := n.noted(notedRuntime, &spec.Node.Runtime); err != nil { // by a run that was interrupted
		return nil, err
	}
	if n.bundle, err = withSandbox(b, spec.Node); err != nil {
		return nil, err
	}
	if n.bundle, err = withKubeadmPause(n.bundle); err != nil {
		return nil, err
	}
	n.readRefs()
	return []engine.Step{
		n.directories("directories", kubernetesDir),
		n.sharedMounts("shared-mounts"),
		n.kernel("kernel"),
		n.podNetwork("pod-network", "kernel"),
		n.binaries("binaries", []string{"kubeadm"}, "directories"),
		n.containerd("containerd", "shared-mounts", "kernel", "binaries"),
		n.importImages("images", nil, "containerd"),
		n.kubeadmKubelet("kubelet-unit", "binaries"),
	}, nil
}

// withKubeadmPause gives the bundle with the image that pods begin with under the name that kubeadm looks for. Where it does not find that,
// it wants to pull it: https://github.com/kubernetes/kubernetes/blob/v1.35.8/cmd/kubeadm/app/constants/constants.go
func withKubeadmPause(b *images.Bundle) (*images.Bundle, error) {
	if semver.MajorMinor(b.KubernetesVersion()) != "v1.35" {
		return b, nil // it is the bundle's own
	}
	return b.Alias("pause", "kubeadm-pause", "registry.k8s.io/pause:3.10.1")
}

// kubeadmKubelet lets systemd know the kubelet; kubeadm starts it.
func (n *builder) kubeadmKubelet(name string, needs ...string) engine.Step {
	const unit = "kubelet.service"
	files := []engine.File{{Path: KubeletUnit, Data: []byte(kubeadmUnitText), Mode: 0o644}}
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) { return engine.Differing(files), nil },
		Do: func(ctx context.Context, _ func(string)) error {
			if err := n.host.KeepUnits(ctx, name, unit, "network-online.target"); err != nil {
				return err
			}
			if err := n.host.WriteFiles(name, files); err != nil {
				return err
			}
			return n.host.EnableUnit(ctx, unit)
		},
	}
}
