package localcluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/providers/local"
)

// ComponentStatus is one part of a control plane, as it says itself on its machine: that works without an API server too.
type ComponentStatus struct {
	Name    string `json:"name"`
	Node    string `json:"node"`
	Healthy bool   `json:"healthy"`
	Message string `json:"message,omitempty"` // why not
}

// askTimeout is enough for an answer from the same computer.
const askTimeout = 5 * time.Second

// controlPlane asks all parts of all control planes at once.
func (c *Cluster) controlPlane(ctx context.Context, machines []*local.Machine) []ComponentStatus {
	running := map[string]*local.Machine{}
	for _, m := range machines {
		if m.Running() {
			running[m.Name()] = m
		}
	}
	var out []ComponentStatus
	for _, n := range c.Nodes {
		if !n.ControlPlane {
			continue
		}
		for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			out = append(out, ComponentStatus{Name: name, Node: n.Name})
		}
	}
	var g errgroup.Group
	for i := range out {
		g.Go(func() error {
			out[i].ask(ctx, running[out[i].Node], c.Nodes)
			return nil
		})
	}
	_ = g.Wait() // what went wrong is in the statuses
	return out
}

func (s *ComponentStatus) ask(ctx context.Context, m *local.Machine, nodes []bootstrap.Node) {
	if m == nil {
		s.Message = "its machine does not run"
		return
	}
	if err := askHealth(ctx, m, healthURL(s.Name, s.Node, nodes)); err != nil {
		s.Message = err.Error()
		return
	}
	s.Healthy = true
}

func healthURL(component, node string, nodes []bootstrap.Node) string {
	switch component {
	case "etcd":
		return fmt.Sprintf("http://127.0.0.1:%d/readyz", bootstrap.EtcdMetricsPort)
	case "kube-controller-manager":
		return fmt.Sprintf("https://127.0.0.1:%d/healthz", bootstrap.ControllerManagerPort)
	case "kube-scheduler":
		return fmt.Sprintf("https://127.0.0.1:%d/readyz", bootstrap.SchedulerPort)
	}
	for _, n := range nodes {
		if n.Name == node {
			return "https://" + fleet.APIAddress(n.Address) + "/readyz"
		}
	}
	return ""
}

// askHealth connects from inside the machine. The certificates there are made at each start and by nobody's authority,
// and nothing is sent but the question.
func askHealth(ctx context.Context, m *local.Machine, url string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	transport := &http.Transport{
		DialContext: m.Dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // said as far as it can be read
	return fmt.Errorf("%s: %s", resp.Status, strings.Join(strings.Fields(string(text)), " "))
}
