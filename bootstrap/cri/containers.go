package cri

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Container is the last of its name in a pod.
type Container struct {
	Name, Pod string
	// Ended is that it does not run, or has ended before and was started again.
	Ended bool
	Log   string // a file
}

// Containers gives the containers of all pods, those that were made last in front.
func (p *Pods) Containers(ctx context.Context) ([]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	list, err := p.service.ListContainers(ctx, &runtime.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	slices.SortFunc(list.Containers, func(a, b *runtime.Container) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	var out []Container
	for _, c := range list.Containers {
		one := Container{Name: c.Labels["io.kubernetes.container.name"], Pod: c.Labels["io.kubernetes.pod.name"]}
		if slices.ContainsFunc(out, func(o Container) bool { return o.Name == one.Name && o.Pod == one.Pod }) {
			continue // an earlier one
		}
		s, err := p.service.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: c.Id})
		if err != nil {
			continue // it has gone meanwhile
		}
		failed := c.State == runtime.ContainerState_CONTAINER_EXITED && s.GetStatus().GetExitCode() != 0
		one.Ended, one.Log = failed || c.GetMetadata().GetAttempt() > 0, s.GetStatus().GetLogPath()
		out = append(out, one)
	}
	return out, nil
}
