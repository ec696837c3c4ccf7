package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

const manifestDir = "/etc/kubernetes/manifests"

// staticPod is what a manifest says that the kubelet should run. Pods of the control plane have one container.
type staticPod struct {
	name, namespace string
	container       corev1.Container
}

// components are the parts of a control plane whose manifests must be there.
func (h *Host) components() []string {
	all := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
	if h.node.saved == nil || len(h.node.saved.Spec.Cluster.ExternalEtcd) > 0 {
		return all // kubeadm can also use an etcd that is elsewhere
	}
	return append([]string{"etcd"}, all...)
}

// staticPods reads all manifests, as the kubelet does. The findings are about those that are missing or cannot be read.
func (h *Host) staticPods() ([]staticPod, []Finding) {
	entries, err := os.ReadDir(h.path(manifestDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, []Finding{problem("the manifests of the control plane cannot be read").because(err)}
	}
	var pods []staticPod
	var wrong []Finding
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		p, err := readStaticPod(h.path(filepath.Join(manifestDir, e.Name())))
		if err != nil {
			wrong = append(wrong, problem("the kubelet cannot use %s", filepath.Join(manifestDir, e.Name())).because(err).
				advise("mend the file, or move it out of that directory"))
			continue
		}
		pods = append(pods, p)
	}
	for _, name := range h.components() {
		if !slices.ContainsFunc(pods, func(p staticPod) bool { return p.name == name }) {
			wrong = append(wrong, problem("%s has no manifest in %s", name, manifestDir).
				advise("put its manifest back, or make this host a node again: `slipway reset`, then `slipway join --control-plane`"))
		}
	}
	return pods, wrong
}

func readStaticPod(path string) (staticPod, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return staticPod{}, err
	}
	var p corev1.Pod
	if err := yaml.Unmarshal(data, &p); err != nil {
		return staticPod{}, err
	}
	if p.Name == "" || len(p.Spec.Containers) == 0 {
		return staticPod{}, errors.New("it is not a pod with a name and a container")
	}
	return staticPod{name: p.Name, namespace: p.Namespace, container: p.Spec.Containers[0]}, nil
}

// flag is the value of a flag of its command, empty if it has none.
func (p staticPod) flag(name string) string {
	for _, arg := range slices.Concat(p.container.Command, p.container.Args) {
		if value, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}

// healthURL is where the kubelet asks for its health: kubeadm and slipway do not agree on all of it. It is nil for a pod
// that is not asked.
func (p staticPod) healthURL(own string) *url.URL {
	probe := p.container.ReadinessProbe
	if probe == nil {
		probe = p.container.LivenessProbe
	}
	if probe == nil || probe.HTTPGet == nil {
		return nil
	}
	get := probe.HTTPGet
	u, err := url.Parse(get.Path)
	if err != nil {
		return nil
	}
	u.Scheme = "http"
	if get.Scheme == corev1.URISchemeHTTPS {
		u.Scheme = "https"
	}
	if get.Host != "" {
		own = get.Host
	}
	u.Host = net.JoinHostPort(own, fmt.Sprint(p.port(get.Port)))
	q := u.Query()
	q.Set("verbose", "") // names what fails
	u.RawQuery = q.Encode()
	return u
}

func (p staticPod) port(port intstr.IntOrString) int32 {
	for _, named := range p.container.Ports {
		if port.Type == intstr.String && named.Name == port.StrVal {
			return named.ContainerPort
		}
	}
	return port.IntVal
}
