package build

import (
	"strings"

	"slipway.dev/slipway/images/pins"
)

// programs is the table of what is compiled. One entry is one go build.
func programs(s pins.Set) []program {
	return []program{kubernetes(s), etcd(), containerd(s), runc(), cniPlugins(s), coreDNS(), calico(s)}
}

func under(prefix string, names ...string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

// stamp gives the linker flags that set string variables of a package.
func stamp(pkg string, values ...string) []string {
	var out []string
	for i := 0; i+1 < len(values); i += 2 {
		out = append(out, "-X "+pkg+"."+values[i]+"="+values[i+1])
	}
	return out
}

func kubernetes(s pins.Set) program {
	u, _ := s.Upstream("kubernetes")
	number := strings.SplitN(strings.TrimPrefix(s.Kubernetes, "v"), ".", 3)
	return program{
		upstream: "kubernetes",
		packages: under("k8s.io/kubernetes/cmd/", "kube-apiserver", "kube-controller-manager", "kube-scheduler",
			"kube-proxy", "kubelet", "kubectl", "kubeadm"),
		// A module does not say which commit it was made from, so gitCommit names the release.
		ldflags: stamp("k8s.io/component-base/version", "gitVersion", s.Kubernetes, "gitMajor", number[0],
			"gitMinor", number[1], "gitCommit", s.Kubernetes, "gitTreeState", "clean", "buildDate", u.Released),
	}
}

func etcd() program {
	return program{
		upstream: "etcd",
		packages: []string{"go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/etcdctl/v3", "go.etcd.io/etcd/etcdutl/v3"},
		rename:   map[string]string{"server": "etcd"},
		ldflags:  stamp("go.etcd.io/etcd/api/v3/version", "GitSHA", "module"),
	}
}

func containerd(s pins.Set) program {
	u, _ := s.Upstream("containerd")
	return program{
		upstream: "containerd",
		packages: under(u.Module+"/cmd/", "containerd", "containerd-shim-runc-v2", "ctr"),
		tags:     "no_btrfs,no_devmapper,urfave_cli_no_docs",
		ldflags:  stamp(u.Module+"/version", "Version", u.Version, "Revision", "module"),
	}
}

// runc's first stage is C, so it is the one program that needs a C compiler.
func runc() program {
	return program{
		upstream: "runc",
		packages: []string{"github.com/opencontainers/runc"},
		tags:     "seccomp,osusergo,netgo,urfave_cli_no_docs",
		cgo:      true,
		tools:    []string{"gcc", "pkg-config", "libseccomp"},
	}
}

func cniPlugins(s pins.Set) program {
	u, _ := s.Upstream("cni-plugins")
	packages := under(u.Module+"/plugins/main/", "bridge", "host-device", "ipvlan", "loopback", "macvlan", "ptp", "tap", "vlan")
	packages = append(packages, under(u.Module+"/plugins/ipam/", "dhcp", "host-local", "static")...)
	packages = append(packages, under(u.Module+"/plugins/meta/", "bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf")...)
	return program{
		upstream: "cni-plugins",
		packages: packages,
		ldflags:  stamp(u.Module+"/pkg/utils/buildversion", "BuildVersion", u.Version),
	}
}

func coreDNS() program {
	return program{upstream: "coredns", packages: []string{"github.com/coredns/coredns"}}
}

func calico(s pins.Set) program {
	u, _ := s.Upstream("calico")
	c, _ := s.Component("calico-node")
	ld := stamp("main", "VERSION", c.Version)
	ld = append(ld, stamp(u.Module+"/node/pkg/lifecycle/startup", "VERSION", c.Version)...)
	for _, pkg := range []string{"/node/buildinfo", "/typha/pkg/buildinfo", "/felix/buildinfo"} {
		ld = append(ld, stamp(u.Module+pkg, "GitVersion", c.Version, "BuildDate", u.Released, "GitRevision", "module")...)
	}
	return program{
		upstream: "calico",
		packages: append(under(u.Module+"/cni-plugin/cmd/", "calico", "install"), u.Module+"/node/cmd/calico-node",
			u.Module+"/kube-controllers/cmd/kube-controllers", u.Module+"/kube-controllers/cmd/check-status",
			u.Module+"/typha/cmd/calico-typha"),
		ldflags: ld,
	}
}

// Packages lists the commands that are compiled from an upstream, by the name of its files in
// images/upstream; the updater makes the module of exactly these.
func Packages(s pins.Set, upstream string) []string {
	for _, p := range programs(s) {
		if u, ok := s.Upstream(p.upstream); ok && u.Name == upstream {
			return p.packages
		}
	}
	return nil
}
