package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
)

// The kubeconfigs by which a host speaks to the API.
const (
	adminKubeconfig      = kubernetesDir + "/admin.conf"
	superAdminKubeconfig = kubernetesDir + "/super-admin.conf"

	controllerManagerKubeconfig = kubernetesDir + "/controller-manager.conf"
)

func restConfig(kubeconfig string) (*rest.Config, error) {
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %q: %w", kubeconfig, err)
	}
	c.UserAgent = "slipway"
	c.QPS, c.Burst = -1, 0 // a cluster that is being made has no load to protect
	return c, nil
}

// Client speaks to the API with this node's own credentials, an administrator's on a control plane. Where there is a load
// balancer it goes through that, as another control plane than this one may have to answer.
func Client(spec *bootstrap.NodeSpec) (*kubernetes.Clientset, error) {
	kubeconfig := kubeletKubeconfig
	if spec.Node.ControlPlane {
		kubeconfig = adminKubeconfig
	}
	cfg, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	if spec.Cluster.Balanced {
		cfg.Host = https(loopback, bootstrap.BalancerPort)
	}
	return kubernetes.NewForConfig(cfg)
}

// superAdmin speaks to this host's own API server: while the cluster is made, its endpoint may not lead anywhere yet.
func (n *builder) superAdmin() (*rest.Config, error) {
	cfg, err := restConfig(superAdminKubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.Host = "https://" + n.ownAPI()
	return cfg, nil
}

func client(kubeconfig string) (*kubernetes.Clientset, error) {
	c, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(c)
}

// pollAPI is how often a program that is starting is asked.
const pollAPI = 50 * time.Millisecond

// api waits for the API server that this node's kubelet talks to, on a control plane for its own.
func (n *builder) api(name string, needs ...string) engine.Step {
	kubeconfig := kubeletKubeconfig
	if n.Node.ControlPlane { // its kubelet may speak to another one through the load balancer
		kubeconfig = controllerManagerKubeconfig
	}
	ready := func(ctx context.Context) error { return askReady(ctx, kubeconfig) }
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			if err := ready(ctx); err != nil {
				return []string{"wait for the API server"}, nil //nolint:nilerr // then there is something to wait for
			}
			return nil, nil
		},
		Do: func(ctx context.Context, progress func(string)) error {
			if n.Node.ControlPlane {
				return waitAPI(ctx, n.explained(ready, "kube-apiserver"), progress)
			}
			return waitAPI(ctx, ready, progress)
		},
	}
}

func waitAPI(ctx context.Context, ready func(context.Context) error, progress func(string)) error {
	const what = "wait for the API server"
	if err := await(ctx, what, ready, progress); err != nil {
		return fault.New("api-not-ready", what, err,
			"look at the logs of kube-apiserver, etcd and kubelet on this host; run the same command again to go on")
	}
	return nil
}

// await asks a program that is starting, which has nothing that could be watched, and reports each change of its answer.
func await(ctx context.Context, what string, ready func(context.Context) error, progress func(string)) error {
	tick := time.NewTicker(pollAPI)
	defer tick.Stop()
	last := ""
	for {
		err := ready(ctx)
		var never hopeless
		if err == nil || errors.As(err, &never) {
			return err
		}
		if ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			progress(what + ": " + last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; its last answer: %s", context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

// askReady says why the API server is not ready, or nothing.
func askReady(ctx context.Context, kubeconfig string) error {
	cfg, err := restConfig(kubeconfig)
	if err != nil {
		return err
	}
	return ask(ctx, cfg, "/readyz")
}

// AskServer says why one of the cluster's API servers, given as host:port, is not ready, or nothing.
func AskServer(ctx context.Context, server string) error {
	cfg, err := restConfig(kubeletKubeconfig)
	if err != nil {
		return err
	}
	cfg.Host = "https://" + server
	return ask(ctx, cfg, "/readyz")
}

func ask(ctx context.Context, cfg *rest.Config, path string) error {
	cfg.Timeout = 5 * time.Second
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Host+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // said as far as it can be read
	return fmt.Errorf("%s: %s", resp.Status, failedChecks(text))
}
