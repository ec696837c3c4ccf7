package pins

import "strings"

// The versions that all minors share.
const (
	containerd = "v2.3.7"
	runc       = "v1.5.2"
	cniPlugins = "v1.9.1"
	pause      = "3.10.2"
	coredns    = "v1.14.6"
	// Calico's newest version among Go modules is a commit after a release; its module name for
	// that commit is a pseudo-version of another tag.
	calico       = "v3.28.4-11-ga0db560f0520"
	calicoModule = "v1.11.0-cni-plugin.0.20250813170300-a0db560f0520"
	debian       = "bookworm"
)

type release struct {
	minor, kubernetes, released string
	etcd, etcdReleased          string
}

func releases() []release {
	return []release{
		{"1.35", "v1.35.8", "2026-08-20T15:16:14Z", "v3.6.16", "2026-10-22T22:52:36Z"},
		{"1.36", "v1.36.4", "2026-08-20T11:51:43Z", "v3.6.16", "2026-10-22T22:52:36Z"},
		{"1.37", "v1.37.1", "2026-09-23T17:06:22Z", "v3.7.3", "2026-10-22T23:01:34Z"},
	}
}

func (r release) set() Set {
	return Set{Minor: r.minor, Kubernetes: r.kubernetes, Components: r.components(), Upstreams: r.upstreams()}
}

func (r release) components() []Component {
	k8s, etcd := "kubernetes-"+r.minor, "etcd-"+minor(r.etcd)
	var out []Component
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		out = append(out, Component{name, r.kubernetes, "registry.k8s.io/" + name + ":" + r.kubernetes, k8s})
	}
	return append(out,
		Component{"etcd", r.etcd, "registry.k8s.io/etcd:" + strings.TrimPrefix(r.etcd, "v") + "-0", etcd},
		Component{"coredns", coredns, "registry.k8s.io/coredns/coredns:" + coredns, "coredns-1.14"},
		Component{"pause", pause, "registry.k8s.io/pause:" + pause, ""},
		Component{"calico-node", calico, "docker.io/calico/node:" + calico, "calico-3.28"},
		Component{"calico-cni", calico, "docker.io/calico/cni:" + calico, "calico-3.28"},
		Component{"calico-typha", calico, "docker.io/calico/typha:" + calico, "calico-3.28"},
		Component{"calico-kube-controllers", calico, "docker.io/calico/kube-controllers:" + calico, "calico-3.28"},
		Component{"keepalived", debian, "slipway.dev/keepalived:" + debian, ""},
		Component{"kubelet", r.kubernetes, "", k8s},
		Component{"kubectl", r.kubernetes, "", k8s},
		Component{"kubeadm", r.kubernetes, "", k8s},
		Component{"etcdctl", r.etcd, "", etcd},
		Component{"etcdutl", r.etcd, "", etcd},
		Component{"containerd", containerd, "", "containerd-2.3"},
		Component{"runc", runc, "", "runc-1.5"},
		Component{"cni-plugins", cniPlugins, "", "cni-plugins-1.9"},
		Component{"machine-rootfs", debian, "", ""},
		Component{"calico-manifests", calico, "", "calico-3.28"},
		Component{"coredns-manifests", r.kubernetes, "", k8s},
	)
}

func (r release) upstreams() []Upstream {
	return []Upstream{
		{"kubernetes-" + r.minor, "k8s.io/kubernetes", r.kubernetes, r.released},
		{"etcd-" + minor(r.etcd), "go.etcd.io/etcd/server/v3", r.etcd, r.etcdReleased},
		{"containerd-2.3", "github.com/containerd/containerd/v2", containerd, "2026-10-13T22:33:38Z"},
		{"runc-1.5", "github.com/opencontainers/runc", runc, "2026-09-24T21:12:22Z"},
		{"cni-plugins-1.9", "github.com/containernetworking/plugins", cniPlugins, "2026-02-19T11:31:52Z"},
		{"coredns-1.14", "github.com/coredns/coredns", coredns, "2026-07-10T05:04:35Z"},
		{"calico-3.28", "github.com/projectcalico/calico", calicoModule, "2025-08-13T17:03:00Z"},
	}
}

// minor gives "3.7" of "v3.7.3".
func minor(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return parts[0] + "." + parts[1]
}
