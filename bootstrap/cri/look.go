package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// Socket is where a containerd listens whose unit a kubelet can depend on. Those that others bring along (k3s, Docker)
	// listen elsewhere, and are theirs.
	Socket = "/run/containerd/containerd.sock"
	// Unit is its unit: upstream's, Debian's and Docker's packages all call it so.
	Unit = "containerd.service"
	// StoreDir is where it keeps images and containers.
	StoreDir = "/var/lib/containerd"

	answerLimit = 5 * time.Second
)

// Found is a containerd that answers.
type Found struct {
	Version string
	// Unfit says, for each thing that is so, why a node cannot use it as it is.
	Unfit []string
	// Running are the containers that run in it, as NAMESPACE/NAME.
	Running []string
	// Sandbox is the image that it begins each pod with.
	Sandbox string
}

// Look asks the containerd behind socket.
func Look(ctx context.Context, socket string) (*Found, error) {
	if _, err := os.Stat(socket); err != nil { // the library would wait for it to appear
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := dial(socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c, err := containerd.NewWithConn(conn)
	if err != nil {
		return nil, err
	}
	v, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	f := &Found{Version: v.Version}
	if f.Running, err = running(ctx, c); err != nil {
		return nil, err
	}
	if err := f.judge(ctx, c, runtime.NewRuntimeServiceClient(conn)); err != nil {
		return nil, err
	}
	return f, nil
}

func dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// running lists what would lose its runtime if another took this one's place.
func running(ctx context.Context, c *containerd.Client) ([]string, error) {
	spaces, err := c.NamespaceService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var out []string
	for _, space := range spaces {
		r, err := c.TaskService().List(namespaces.WithNamespace(ctx, space), &tasks.ListTasksRequest{})
		if err != nil {
			return nil, fmt.Errorf("list what runs in namespace %q: %w", space, err)
		}
		for _, t := range r.Tasks {
			if t.Status != task.Status_STOPPED {
				out = append(out, space+"/"+t.ID)
			}
		}
	}
	return out, nil
}

// PluginFailed says why a containerd does not serve a kubelet; nil if it does.
func PluginFailed(ctx context.Context, c *containerd.Client) (why, err error) {
	r, err := c.IntrospectionService().Plugins(ctx, "type==io.containerd.grpc.v1,id==cri")
	switch {
	case err != nil:
		return nil, fmt.Errorf("list plugins: %w", err)
	case len(r.Plugins) == 0:
		return errors.New("it is disabled"), nil
	case r.Plugins[0].InitErr != nil:
		return errors.New(r.Plugins[0].InitErr.Message), nil
	}
	return nil, nil
}
