package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"slipway.dev/slipway/certs"
)

// clockSkew is how far clocks may be apart: tokens and leases leave no more. The API says the time in seconds.
const clockSkew = time.Minute

// nodeSize is more than a Node takes.
const nodeSize = 4 << 20

// api asks for this node's object with the kubelet's own kubeconfig, so that what stops the kubelet stops this too.
func api(ctx context.Context, h *Host) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	cfg, err := h.kubeletConfig()
	if err != nil {
		return []Finding{problem("the kubelet's kubeconfig cannot be used").because(err).
			advise("make this host a node again: `slipway reset`, then `slipway join`")}
	}
	a, err := askNode(ctx, cfg, h.node.Name)
	if err != nil {
		return []Finding{problem("the API at %s cannot be reached", cfg.Host).because(err).advise("%s", adviceFor(h, err))}
	}
	out := []Finding{ok("the API at %s answers in %d ms", cfg.Host, a.took.Milliseconds())}
	if a.skew > clockSkew || a.skew < -clockSkew {
		out = append(out, problem("the clock of this host is %v off the API server's", a.skew.Round(time.Second)).
			advise("set the clock, and let NTP keep it, for example with systemd-timesyncd"))
	}
	return append(out, a.judge(h.node.Name)...)
}

// kubeletConfig reads the kubeconfig, and what it refers to.
func (h *Host) kubeletConfig() (*rest.Config, error) {
	c, err := clientcmd.LoadFromFile(h.path(kubeletKubeconfig))
	if err != nil {
		return nil, err
	}
	read := certs.Host(h.path("/"))
	embed := func(path *string, data *[]byte) {
		if *path == "" {
			return
		}
		content, failed := read(*path)
		*path, *data, err = "", content, errors.Join(err, failed)
	}
	for _, u := range c.AuthInfos {
		embed(&u.ClientCertificate, &u.ClientCertificateData)
		embed(&u.ClientKey, &u.ClientKeyData)
	}
	for _, s := range c.Clusters {
		embed(&s.CertificateAuthority, &s.CertificateAuthorityData)
	}
	if err != nil {
		return nil, err
	}
	return clientcmd.NewDefaultClientConfig(*c, nil).ClientConfig()
}

func adviceFor(h *Host, err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "x509: certificate"), strings.Contains(text, "tls: "):
		return "see what is said of certificates, and compare this host's clock"
	case h.node.ControlPlane:
		return "see what is said of kube-apiserver and etcd"
	}
	return "look at the control planes, and whether this host reaches them: `curl -k` that address"
}

// answer is what the API says of this node, and how it said it.
type answer struct {
	status int
	node   corev1.Node
	took   time.Duration
	skew   time.Duration // this host's clock minus the API's
}

func askNode(ctx context.Context, cfg *rest.Config, name string) (*answer, error) {
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(cfg.Host, "/")+"/api/v1/nodes/"+name, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	asked := time.Now()
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, took: time.Since(asked)}
	if there, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		a.skew = asked.Add(a.took / 2).Sub(there)
	}
	if a.status != http.StatusOK {
		return a, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, nodeSize))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &a.node); err != nil || a.node.Name != name {
		return nil, errors.Join(errors.New("what answers there is not Kubernetes"), err)
	}
	return a, nil
}

func (a *answer) judge(name string) []Finding {
	switch a.status {
	case http.StatusOK:
		return judgeNode(&a.node)
	case http.StatusNotFound:
		return []Finding{problem("the cluster has no node %q", name).why("the kubelet has not registered it, or somebody deleted it").
			advise("restart the kubelet, which registers it: `systemctl restart kubelet`")}
	case http.StatusUnauthorized, http.StatusForbidden:
		return []Finding{problem("the API does not accept the kubelet's certificate").why(fmt.Sprintf("it answers %d", a.status)).
			advise("see what is said of certificates; if they are good, this host is of another cluster: `slipway reset`, then `slipway join`")}
	}
	return []Finding{problem("the API does not say how this node is").
		why(fmt.Sprintf("it answers %d %s", a.status, http.StatusText(a.status))).
		advise("look at the control planes: `slipway doctor` there")}
}

func judgeNode(n *corev1.Node) []Finding {
	var out []Finding
	ready := problem("the node is not ready").why("the kubelet has not said anything yet")
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				ready = ok("the node is ready, its kubelet is %s", n.Status.NodeInfo.KubeletVersion)
				continue
			}
			ready = problem("the node is not ready: %s", c.Reason).why(c.Message)
		} else if c.Status == corev1.ConditionTrue {
			out = append(out, problem("the node has the condition %s", c.Type).why(c.Message).advise("see what is said of disk, memory and network"))
		}
	}
	out = append([]Finding{ready}, out...)
	if n.Spec.Unschedulable {
		out = append(out, warning("the node is cordoned: no new pods come here").advise("let them come with `kubectl uncordon %s`", n.Name))
	}
	if taints := describe(n.Spec.Taints); taints != "" {
		out = append(out, ok("taints: %s", taints))
	}
	return out
}

func describe(taints []corev1.Taint) string {
	var out []string
	for _, t := range taints {
		out = append(out, t.ToString())
	}
	return strings.Join(out, ", ")
}
