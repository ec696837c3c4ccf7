package cri

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

const (
	atOnce      = 8 // pods
	pollNetwork = 50 * time.Millisecond
)

// Pods are those in a containerd.
type Pods struct {
	conn    *grpc.ClientConn
	service runtime.RuntimeServiceClient
}

// OpenPods reaches the containerd behind socket. Nobody has been asked yet.
func OpenPods(socket string) (*Pods, error) {
	conn, err := dial(socket)
	if err != nil {
		return nil, err
	}
	return &Pods{conn, runtime.NewRuntimeServiceClient(conn)}, nil
}

// Close ends the connection.
func (p *Pods) Close() { p.conn.Close() }

// Store gives the directory of the containerd that answers. It is "" if none does.
func (p *Pods) Store(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	s, err := readSettings(ctx, p.service)
	var rpc interface{ GRPCStatus() *status.Status }
	if errors.As(err, &rpc) && rpc.GRPCStatus().Code() == codes.Unavailable {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return s.ContainerdRootDir, nil
}

// WaitNetwork waits until it has taken up the network configuration of that name.
func (p *Pods) WaitNetwork(ctx context.Context, name string) error {
	tick := time.NewTicker(pollNetwork)
	defer tick.Stop()
	for {
		r, err := p.service.Status(ctx, &runtime.StatusRequest{Verbose: true})
		if err == nil && strings.Contains(r.Info["cniconfig"], fmt.Sprintf("%q", name)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait until containerd has taken up network %q: %w", name, context.Cause(ctx)), err)
		case <-tick.C:
		}
	}
}

// Runs tells whether there is a pod of the control plane of that name, whatever of its containers.
func (p *Pods) Runs(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	r, err := p.service.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{
		State:         &runtime.PodSandboxStateValue{State: runtime.PodSandboxState_SANDBOX_READY},
		LabelSelector: map[string]string{kubelettypes.KubernetesPodNamespaceLabel: "kube-system", kubelettypes.KubernetesPodNameLabel: name},
	}})
	if err != nil {
		return false, fmt.Errorf("list pods: %w", err)
	}
	return len(r.Items) > 0, nil
}

// Remove ends the pods that have all these labels, and removes them.
func (p *Pods) Remove(ctx context.Context, labels map[string]string) error {
	r, err := p.service.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{LabelSelector: labels}})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, pod := range r.Items {
		g.Go(func() error {
			if _, err := p.service.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: pod.Id}); err != nil {
				return fmt.Errorf("remove pod %q: %w", pod.GetMetadata().GetName(), err)
			}
			return nil
		})
	}
	return g.Wait()
}
