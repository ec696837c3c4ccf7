package localcluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Status is what runs of a cluster, as its API server and its machines say.
type Status struct {
	Name         string        `json:"name"`
	State        string        `json:"state"`
	Nodes        []NodeStatus  `json:"nodes"`
	Pods         []PodStatus   `json:"pods"` // of kube-system: control plane and addons
	Certificates []Certificate `json:"certificates"`
}

// NodeStatus is one node.
type NodeStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Role    string `json:"role"`
	Machine string `json:"machine"` // running or stopped
	Ready   string `json:"ready"`   // True, False or Unknown
	Version string `json:"version"`
}

// PodStatus is one pod of the system.
type PodStatus struct {
	Name     string `json:"name"`
	Node     string `json:"node"`
	Ready    bool   `json:"ready"`
	Restarts int32  `json:"restarts"`
}

// Certificate is a certificate on a node and when it ends.
type Certificate struct {
	Node     string    `json:"node"`
	Path     string    `json:"path"`
	NotAfter time.Time `json:"notAfter"`
}

// SSHSigner is the key that may log in to the machines.
func (c *Cluster) SSHSigner() (ssh.Signer, error) { return readSSHKey(c.SSHKeyFile()) }

// State is "running", "stopped", "partly running", or "launching" for a launch that never ended.
func (c *Cluster) State(ctx context.Context) (string, error) {
	machines, err := c.Machines(ctx)
	if err != nil {
		return "", err
	}
	running := 0
	for _, m := range machines {
		if m.Running() {
			running++
		}
	}
	switch {
	case !c.Ready:
		return "launching", nil
	case running == 0:
		return "stopped", nil
	case running < len(c.Nodes):
		return "partly running", nil
	}
	return "running", nil
}

// Status asks the API server and the machines. The fault is api-unreachable.
func (c *Cluster) Status(ctx context.Context) (*Status, error) {
	state, err := c.State(ctx)
	if err != nil {
		return nil, err
	}
	s := &Status{Name: c.Name(), State: state}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fault.New("api-unreachable", fmt.Sprintf("ask cluster %q", c.Name()), err,
			"see `slipway logs "+c.Name()+" "+c.Nodes[0].Name+" kube-apiserver`")
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	s.Nodes = c.nodes(nodes.Items, machines)
	pods, err := client.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the system's pods: %w", err)
	}
	s.Pods = podStatus(pods.Items)
	s.Certificates, err = certificates(ctx, machines)
	return s, err
}

func (c *Cluster) client() (*kubernetes.Clientset, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.KubeconfigFile())
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

func (c *Cluster) nodes(items []corev1.Node, machines []*local.Machine) []NodeStatus {
	var out []NodeStatus
	for _, n := range c.Nodes {
		s := NodeStatus{Name: n.Name, Address: n.Address.String(), Role: "worker", Machine: "stopped", Ready: "Unknown"}
		if n.ControlPlane {
			s.Role = "control-plane"
		}
		for _, m := range machines {
			if m.Name() == n.Name && m.Running() {
				s.Machine = "running"
			}
		}
		for _, i := range items {
			if i.Name != n.Name {
				continue
			}
			s.Version = i.Status.NodeInfo.KubeletVersion
			for _, cond := range i.Status.Conditions {
				if cond.Type == corev1.NodeReady {
					s.Ready = string(cond.Status)
				}
			}
		}
		out = append(out, s)
	}
	return out
}

func podStatus(items []corev1.Pod) []PodStatus {
	var out []PodStatus
	for _, p := range items {
		s := PodStatus{Name: p.Name, Node: p.Spec.NodeName}
		for _, c := range p.Status.Conditions {
			s.Ready = s.Ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		for _, c := range p.Status.ContainerStatuses {
			s.Restarts += c.RestartCount
		}
		out = append(out, s)
	}
	return out
}

// certificates asks each running machine, where the files are.
func certificates(ctx context.Context, machines []*local.Machine) ([]Certificate, error) {
	var out []Certificate
	for _, m := range machines {
		if !m.Running() {
			continue
		}
		var text strings.Builder
		err := m.Run(ctx, local.Command{Args: []string{fleet.Program, "node", "certificates"}, Stdout: &text})
		if err != nil {
			return nil, fault.On(m.Name(), err)
		}
		var list []certs.Certificate
		if err := json.Unmarshal([]byte(text.String()), &list); err != nil {
			return nil, fault.On(m.Name(), err)
		}
		for _, cert := range list {
			out = append(out, Certificate{m.Name(), cert.Path, cert.NotAfter})
		}
	}
	return out, nil
}
