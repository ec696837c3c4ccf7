package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	containerdUnit   = "containerd.service"
	// The first version whose CRI plugin is configured as the bundle's: https://containerd.io/releases/
	minimumContainerd = "2.0"
	answerLimit       = 3 * time.Second
)

func containerRuntime(ctx context.Context, f Facts) []Finding {
	if f.Resuming {
		return nil
	}
	// That systemd cannot be reached, the check named os says; the socket counts all the same.
	active, _ := f.activeUnits(ctx, containerdUnit, "docker.service", "crio.service")
	var out []Finding
	for _, unit := range active {
		if unit != containerdUnit {
			out = append(out, problem("%s runs here, a container runtime that a node does not use", unit).
				advise("stop and disable it (\"systemctl disable --now %s\"), or ignore this if it is to stay beside the node's own", unit))
		}
	}
	return append(out, containerdHere(ctx, f, slices.Contains(active, containerdUnit))...)
}

func containerdHere(ctx context.Context, f Facts, active bool) []Finding {
	socket := f.path(containerdSocket)
	_, err := os.Stat(socket)
	var version string
	var cri error
	if err == nil { // the library would wait for it to appear
		version, cri, err = askContainerd(ctx, socket)
	}
	switch {
	case err != nil && !active:
		return nil // none, or a socket that its daemon has left
	case err != nil:
		return []Finding{problem("%s runs here, and cannot be asked what it is: %v", containerdUnit, err)}
	case !atLeast(version, minimumContainerd):
		return []Finding{problem("containerd %s runs here; a node needs %s or newer", version, minimumContainerd).
			advise("remove its package, or install a newer one")}
	case cri != nil:
		return []Finding{problem("containerd %s runs here without its CRI plugin: %v", version, cri).
			advise("take \"cri\" out of disabled_plugins in /etc/containerd/config.toml, or remove the package")}
	}
	return []Finding{warning("containerd %s runs here; its configuration and unit are replaced, and come back with a reset", version).
		advise("remove its package if the node is to have the one of the bundle")}
}

// askContainerd gives the version of the daemon, and why it cannot serve a kubelet.
func askContainerd(ctx context.Context, socket string) (version string, cri, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	c, err := containerd.New(socket)
	if err != nil {
		return "", nil, err
	}
	defer c.Close()
	v, err := c.Version(ctx)
	if err != nil {
		return "", nil, err
	}
	plugins, err := c.IntrospectionService().Plugins(ctx, "type==io.containerd.grpc.v1,id==cri")
	if err != nil {
		return "", nil, fmt.Errorf("list plugins: %w", err)
	}
	switch {
	case len(plugins.Plugins) == 0:
		return v.Version, errors.New("it is disabled"), nil
	case plugins.Plugins[0].InitErr != nil:
		return v.Version, errors.New(plugins.Plugins[0].InitErr.Message), nil
	}
	return v.Version, nil, nil
}
