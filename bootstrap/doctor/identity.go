package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

const kubeletKubeconfig = "/etc/kubernetes/kubelet.conf"

// Node is what this host is.
type Node struct {
	Name              string `json:"name"`
	Address           string `json:"address,omitempty"`
	Cluster           string `json:"cluster,omitempty"` // not known on a host that kubeadm made a node
	ControlPlane      bool   `json:"controlPlane"`
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	Endpoint          string `json:"endpoint,omitempty"` // URL of the API, as the kubelet has it

	saved     *saved
	broken    error     // why what was saved cannot be used
	completed time.Time // when that was saved last, if this host is a node since
	journal   bool
}

// Role is the node's role in words.
func (n Node) Role() string {
	if n.ControlPlane {
		return "control plane"
	}
	return "worker"
}

// saved is what package server keeps, without the secrets.
type saved struct {
	Version int  `json:"v"`
	Done    bool `json:"done"`
	Spec    struct {
		Cluster bootstrap.Cluster `json:"cluster"`
		Node    bootstrap.Node    `json:"node"`
		Bundle  string            `json:"bundle"`
	} `json:"spec"`
}

const savedVersion = 1

// identify finds out what this host is: from what was saved, or else from the kubelet's files. The fault is not-a-node.
func (h *Host) identify() (Node, error) {
	var n Node
	info, err := os.Stat(h.stateFile("journal.jsonl"))
	n.journal = err == nil && info.Size() > 0
	n.saved, n.broken = h.readSaved()
	if n.saved == nil && n.broken == nil && !n.journal && !h.exists(kubeletKubeconfig) {
		return n, fault.New("not-a-node", "look at this host", errors.New("it is no node, and nothing was begun on it"),
			"name a cluster of this computer, of which `slipway list` shows all, or make this host a node with `slipway init` or `slipway join`")
	}
	if n.saved != nil {
		if info, err := os.Stat(h.stateFile("node.json")); err == nil && n.saved.Done {
			n.completed = info.ModTime()
		}
		c, o := n.saved.Spec.Cluster, n.saved.Spec.Node
		n.Name, n.Address, n.ControlPlane = o.Name, o.Address.String(), o.ControlPlane
		n.Cluster, n.KubernetesVersion, n.Endpoint = c.Name, c.KubernetesVersion, "https://"+c.Endpoint
		return n, nil
	}
	h.identifyByKubelet(&n)
	return n, nil
}

// readSaved gives nil where there is nothing.
func (h *Host) readSaved() (*saved, error) {
	path := h.stateFile("node.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s saved
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	if s.Version != savedVersion {
		return nil, fmt.Errorf("%q has version %d, this program knows %d", path, s.Version, savedVersion)
	}
	return &s, nil
}

// identifyByKubelet says what it can; what is wrong with the files is for the checks to say.
func (h *Host) identifyByKubelet(n *Node) {
	if c, err := clientcmd.LoadFromFile(h.path(kubeletKubeconfig)); err == nil {
		if current, ok := c.Contexts[c.CurrentContext]; ok && c.Clusters[current.Cluster] != nil {
			n.Endpoint = c.Clusters[current.Cluster].Server
		}
	}
	data, _ := certs.Host(h.path("/"))(certs.KubeletPKI + "/kubelet-client-current.pem")
	if chain, err := cert.ParseCertsPEM(data); err == nil {
		n.Name = strings.TrimPrefix(chain[0].Subject.CommonName, "system:node:")
	}
	if n.Name == "" {
		name, _ := os.Hostname() // the kubelet's own default
		n.Name = strings.ToLower(name)
	}
	pods, _ := h.staticPods()
	for _, p := range pods {
		if p.name != "kube-apiserver" {
			continue
		}
		n.ControlPlane = true
		n.Address = p.flag("advertise-address")
		if _, tag, ok := strings.Cut(p.container.Image, ":v"); ok {
			n.KubernetesVersion = "v" + tag
		}
	}
}

// completeness says what this host is, and whether all was done that makes it so.
func completeness(_ context.Context, h *Host) []Finding {
	n := h.node
	switch {
	case n.broken != nil:
		return []Finding{problem("what slipway has saved of this host cannot be used").because(n.broken).
			advise("use the slipway of a newer version if it is that; or mend the file, which is JSON")}
	case n.saved == nil && !h.exists(kubeletKubeconfig): // there is a journal, or nobody would look
		return []Finding{problem("something was changed on this host, and it is not known for which cluster").
			why("there is a journal, but no " + h.stateFile("node.json")).advise("take it back with `slipway reset`")}
	case n.saved == nil:
		return []Finding{ok("this host was made a node by other means than `slipway init` or `slipway join` on it")}
	case !n.saved.Done:
		return []Finding{interrupted(n)}
	}
	return []Finding{ok("%s of cluster %q, as node %q", n.Role(), n.Cluster, n.Name)}
}

func interrupted(n Node) Finding {
	command, spec := "slipway init", n.saved.Spec
	if !spec.Node.Init {
		command = "slipway join " + spec.Cluster.Endpoint
		if spec.Node.ControlPlane {
			command += " --control-plane"
		}
	}
	return problem("this host is not yet a %s of cluster %q", n.Role(), n.Cluster).
		why("`"+command+"` has not ended well, or is still at work").
		advise("run `%s` again with the options of the first time (bundle %q): it goes on where it stopped; or take it back with `slipway reset`",
			command, spec.Bundle)
}
