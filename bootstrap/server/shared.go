package server

import (
	"context"
	"fmt"
	"path/filepath"

	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/internal/fault"
)

// FetchShared places the files on this server that control planes share and that `kubeadm join --control-plane` does not
// carry: the encryption key, the audit policy, who may come in without credentials. It gives their paths. Reset takes
// them back.
func FetchShared(ctx context.Context, o JoinOptions) ([]string, error) {
	if err := checkRoot(); err != nil {
		return nil, err
	}
	o.ControlPlane = true
	j, err := o.read()
	if err != nil {
		return nil, err
	}
	ctx, cancel := o.within(ctx, "fetch the control planes' files")
	defer cancel()
	held, err := node.Lock()
	if err != nil {
		return nil, err
	}
	defer release(held)
	_, credentials, err := j.find(ctx, func(string) {})
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(credentials)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	shared, err := invite.DownloadCertificates(ctx, client, j.key)
	if err != nil {
		return nil, err
	}
	var files []engine.File
	var paths []string
	_, optional := invite.SharedFiles(false) // these are the same
	for _, path := range optional {
		if data, ok := shared[path]; ok {
			f := engine.File{Path: filepath.Join("/etc/kubernetes", path), Data: data, Mode: 0o600}
			files, paths = append(files, f), append(paths, f.Path)
		}
	}
	if len(files) == 0 {
		return nil, fault.New("certificates-not-uploaded", "fetch the control planes' files",
			fmt.Errorf("what was uploaded has none of them: kubeadm did it"), "run `slipway certs upload` on a control plane that slipway made")
	}
	return paths, node.WriteFiles("shared-files", files)
}
