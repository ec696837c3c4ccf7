package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Status is what runs of a cluster, as its API server and its machines say.
type Status struct {
	Name         string            `json:"name"`
	State        string            `json:"state"`
	Nodes        []NodeStatus      `json:"nodes"`
	ControlPlane []ComponentStatus `json:"controlPlane"`
	Addons       []AddonStatus     `json:"addons"`
	Certificates []Certificate     `json:"certificates"`
	Ports        []string          `json:"ports,omitempty"` // published on this computer's loopback
	// Unfinished says what was begun with its nodes and not completed, and how to complete it.
	Unfinished []string `json:"unfinished,omitempty"`
}

// NodeStatus is one node.
type NodeStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Role    string `json:"role"`
	Machine string `json:"machine"` // running, stopped or paused
	Ready   string `json:"ready"`   // True, False or Unknown
	Version string `json:"version"`
}

// AddonStatus is a workload that is part of the cluster itself.
type AddonStatus struct {
	Name  string `json:"name"`
	Ready int32  `json:"ready"` // pods
	Want  int32  `json:"want"`
}

// Certificate is a certificate on a node and when it ends.
type Certificate struct {
	Node     string    `json:"node"`
	Path     string    `json:"path"`
	NotAfter time.Time `json:"notAfter"`
}

// SSHSigner is the key that may log in to the machines.
func (c *Cluster) SSHSigner() (ssh.Signer, error) { return readSSHKey(c.SSHKeyFile()) }

// The states of a cluster.
const (
	stateRunning       = "running"
	statePartlyRunning = "partly running"
	stateStopped       = "stopped"
	statePaused        = "paused"
	statePartlyPaused  = "partly paused"
	stateLaunching     = "launching" // its launch never ended
	stateRemoving      = "removing"  // its removal never did
	stateRestoring     = "restoring" // its restoration never did
)

// State is one of the above.
func (c *Cluster) State(ctx context.Context) (string, error) {
	machines, err := c.Machines(ctx)
	if err != nil {
		return "", err
	}
	return c.stateOf(machines), nil
}

func (c *Cluster) stateOf(machines []*local.Machine) string {
	number := map[local.State]int{}
	for _, m := range machines {
		if slices.ContainsFunc(c.Nodes, named(m.Name())) { // and no other, of a node that is joining
			number[m.State()]++
		}
	}
	switch {
	case c.Removing:
		return stateRemoving
	case c.Restoring != "":
		return stateRestoring
	case !c.Ready:
		return stateLaunching
	case number[local.Paused] == len(c.Nodes):
		return statePaused
	case number[local.Paused] > 0:
		return statePartlyPaused
	case number[local.Running] == 0:
		return stateStopped
	case number[local.Running] < len(c.Nodes):
		return statePartlyRunning
	}
	return stateRunning
}

// Status asks the API server and the machines. When the API server does not answer (the fault is api-unreachable), the
// status has what the machines say.
func (c *Cluster) Status(ctx context.Context) (*Status, error) {
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	s := &Status{Name: c.Name(), State: c.stateOf(machines), Nodes: c.nodes(nil, machines), Ports: c.Ports(),
		Unfinished: c.Unfinished()}
	if s.State == stateStopped || s.State == statePaused || s.State == stateRestoring { // nobody would answer
		return s, nil
	}
	s.ControlPlane = c.controlPlane(ctx, machines)
	s.Certificates, err = certificates(ctx, machines)
	if failed := c.askAPI(ctx, s, machines); failed != nil {
		err = errors.Join(err, fault.New("api-unreachable", fmt.Sprintf("ask cluster %q", c.Name()), failed,
			"see `slipway logs "+c.Name()+" "+c.Nodes[0].Name+" kube-apiserver`"))
	}
	return s, err
}

func (c *Cluster) askAPI(ctx context.Context, s *Status, machines []*local.Machine) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	s.Nodes = c.nodes(nodes.Items, machines)
	s.Addons, err = addonStatus(ctx, client)
	return err
}

// addonStatus counts the pods of the workloads in kube-system.
func addonStatus(ctx context.Context, client *kubernetes.Clientset) ([]AddonStatus, error) {
	sets, err := client.AppsV1().DaemonSets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	deployments, err := client.AppsV1().Deployments(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []AddonStatus
	for _, d := range sets.Items {
		out = append(out, AddonStatus{d.Name, d.Status.NumberReady, d.Status.DesiredNumberScheduled})
	}
	for _, d := range deployments.Items {
		out = append(out, AddonStatus{d.Name, d.Status.ReadyReplicas, ptr.Deref(d.Spec.Replicas, 1)})
	}
	slices.SortFunc(out, func(a, b AddonStatus) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (c *Cluster) client() (*kubernetes.Clientset, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.KubeconfigFile())
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	cfg.QPS = -1 // who waits asks several times a second
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

func (c *Cluster) nodes(items []corev1.Node, machines []*local.Machine) []NodeStatus {
	var out []NodeStatus
	for _, n := range c.allNodes() {
		s := NodeStatus{Name: n.Name, Address: n.Address.String(), Role: "worker", Machine: string(local.Stopped), Ready: "Unknown"}
		if n.ControlPlane {
			s.Role = "control-plane"
		}
		for _, m := range machines {
			if m.Name() == n.Name {
				s.Machine = string(m.State())
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

// certificates asks each running machine, where the files are. What one does not answer, the others still do.
func certificates(ctx context.Context, machines []*local.Machine) (out []Certificate, err error) {
	for _, m := range machines {
		if !m.Running() {
			continue
		}
		list, failed := certificatesOf(ctx, m)
		if failed != nil {
			err = errors.Join(err, fault.On(m.Name(), fault.New("machine-silent", "ask for the certificates", failed,
				"see `slipway logs` of that node")))
		}
		for _, cert := range list {
			out = append(out, Certificate{m.Name(), cert.Path, cert.NotAfter})
		}
	}
	return out, err
}

func certificatesOf(ctx context.Context, m *local.Machine) (list []certs.Certificate, err error) {
	var text strings.Builder
	if err := m.Run(ctx, local.Command{Args: []string{bootstrap.Program, "node", "certificates"}, Stdout: &text}); err != nil {
		return nil, err
	}
	return list, json.Unmarshal([]byte(text.String()), &list)
}
