package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
)

const (
	endPodsService = "slipway-end-pods.service"
	endPodsUnit    = bootstrap.UnitDir + "/" + endPodsService

	// Longer nobody waits for it at a shutdown: what it has not done is done at the next boot.
	endPodsTime = 3 * time.Second
	endPodsPoll = 20 * time.Millisecond
)

// The API server and the load balancer still run when it stops: containers outlive the units.
const endPodsUnitText = `[Unit]
Description=End of the cluster's DNS server before that of this node
Documentation=https://slipway.dev/slipway
After=containerd.service slipway-balancer.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStop=-` + bootstrap.Program + ` node end-pods

[Install]
WantedBy=multi-user.target
`

// endPods lets a shutdown give the network of the cluster's DNS server back, for which all wait when a local node starts again. It would
// take part of a second at the boot, when everything else starts too. What the pod's containers have said so far is in their logs,
// and not in `kubectl logs --previous`: so nobody else's pods are ended like that.
func (n *builder) endPods(name string, needs ...string) []engine.Step {
	if !n.Cluster.Closed || n.Cluster.NoCNI {
		return nil
	}
	return []engine.Step{n.service(name, engine.Unit{Name: endPodsService, Files: []string{endPodsUnit}}, nil, func() ([]engine.File, error) {
		return []engine.File{{Path: endPodsUnit, Data: []byte(endPodsUnitText), Mode: 0o644}}, nil
	}, needs...)}
}

// EndPods removes the pods of the cluster's DNS server from this host's containerd when the kubelet has ended, which would make new ones.
func EndPods(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endPodsTime, fmt.Errorf("it took longer than %v", endPodsTime))
	defer cancel()
	if err := awaitEnd(ctx, "kubelet.service"); err != nil {
		return err
	}
	pods, err := cri.OpenPods(containerdSocket)
	if err != nil {
		return err
	}
	defer pods.Close()
	return pods.Remove(ctx, map[string]string{kubelettypes.KubernetesPodNamespaceLabel: metav1.NamespaceSystem, "k8s-app": "kube-dns"})
}

func awaitEnd(ctx context.Context, unit string) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	tick := time.NewTicker(endPodsPoll)
	defer tick.Stop()
	for {
		p, err := c.GetUnitPropertyContext(ctx, unit, "ActiveState")
		if err == nil && slices.Contains([]any{"inactive", "failed"}, p.Value.Value()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s to end: %w", unit, context.Cause(ctx)), err)
		case <-tick.C:
		}
	}
}
