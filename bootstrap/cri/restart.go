package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
)

// podNamespace is containerd's, of all that the kubelet runs.
const podNamespace = "k8s.io"

const (
	restartTime = 2 * time.Minute
	restartPoll = 50 * time.Millisecond
)

// Restart ends a static pod's container on the node of that name, and waits until the kubelet has started another. It works
// through containerd, as such a container cannot be ended through the API. It must be another one afterwards: a single file
// that is mounted into a container stays the file that it was.
func Restart(ctx context.Context, socket, component, node string, progress func(string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restartTime, fmt.Errorf("the kubelet has not started it again within %v", restartTime))
	defer cancel()
	c, err := open(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	old, err := end(ctx, c, component, node, syscall.SIGTERM)
	if err != nil {
		return err
	}
	if len(old) == 0 {
		progress("it does not run; the kubelet starts it by itself")
		return nil
	}
	progress("wait for the kubelet to start it again")
	return waitForAnother(ctx, c, component, node, old)
}

// RunsAs tells whether a static pod's container on the node of that name runs with this command, and none with another.
func RunsAs(ctx context.Context, socket, component, node string, command []string) (bool, error) {
	c, err := open(socket)
	if err != nil {
		return false, err
	}
	defer c.Close()
	all, err := tasksOf(ctx, c, component, node)
	if err != nil || len(all) == 0 {
		return false, err
	}
	for _, task := range all {
		spec, err := task.Spec(ctx)
		if err != nil {
			return false, fmt.Errorf("look at its container: %w", err)
		}
		if !slices.Equal(spec.Process.Args, command) {
			return false, nil
		}
	}
	return true, nil
}

// Kill ends a static pod's container on the node of that name as hard as can be, and does not wait. The kubelet starts another.
func Kill(ctx context.Context, socket, component, node string) error {
	c, err := open(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = end(ctx, c, component, node, syscall.SIGKILL)
	return err
}

func open(socket string) (*containerd.Client, error) {
	if _, err := os.Stat(socket); err != nil { // the library would wait for it to appear
		return nil, err
	}
	return containerd.New(socket, containerd.WithDefaultNamespace(podNamespace))
}

// end gives the tasks that it has sent the signal to.
func end(ctx context.Context, c *containerd.Client, component, node string, signal syscall.Signal) (map[string]containerd.Task, error) {
	all, err := tasksOf(ctx, c, component, node)
	if err != nil {
		return nil, err
	}
	for _, task := range all {
		if err := task.Kill(ctx, signal); err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("end its container: %w", err)
		}
	}
	return all, nil
}

func waitForAnother(ctx context.Context, c *containerd.Client, component, node string, old map[string]containerd.Task) error {
	tick := time.NewTicker(restartPoll)
	defer tick.Stop()
	for {
		now, err := tasksOf(ctx, c, component, node)
		for id := range now {
			if old[id] == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// tasksOf gives the tasks of a static pod's containers that run, by the containers' IDs.
func tasksOf(ctx context.Context, c *containerd.Client, component, node string) (map[string]containerd.Task, error) {
	// The pod's name too: another scheduler, for example, may have a container of that name.
	all, err := c.Containers(ctx, fmt.Sprintf(
		`labels."io.kubernetes.container.name"==%q,labels."io.kubernetes.pod.namespace"==kube-system,labels."io.kubernetes.pod.name"==%q`,
		component, component+"-"+node))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	out := map[string]containerd.Task{}
	for _, one := range all {
		task, err := one.Task(ctx, nil)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at container %q: %w", one.ID(), err)
		}
		status, err := task.Status(ctx)
		if err == nil && status.Status == containerd.Running {
			out[one.ID()] = task
		}
	}
	return out, nil
}
