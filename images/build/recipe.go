package build

import "slipway.dev/slipway/images"

// recipe says what lies in one component's own layer. It is data, so that its text is part of the
// unit's key.
type recipe struct {
	component string
	kind      string
	parts     []part
	base      bool // over the Debian userland
	certs     bool // with the certificate authorities that systems trust
	image     run
}

// run is what an image starts by itself.
type run struct {
	entrypoint, cmd, env []string
	user, dir            string
}

// part is one path. The first field that is set says what it is; else it is a folder.
type part struct {
	path   string
	binary string // a program of the component's upstream
	text   string
	blank  bool   // an empty file
	link   string // symbolic link
	hard   string // hard link
	module string // a file or folder of the upstream's source, relative to its module
	mode   int64  // 0: 755 for folders and programs, 644 for files
}

func (p part) modeOr(mode int64) int64 {
	if p.mode != 0 {
		return p.mode
	}
	return mode
}

// search is the path that upstream's images have.
const search = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func binary(dir, name string) part { return part{path: dir + name, binary: name} }

// recipes lists every component but those of allDebian.
func recipes() []recipe {
	out := append(kubernetesImages(), calicoImages()...)
	out = append(out,
		recipe{component: "etcd", kind: images.KindImage, parts: inBin("etcd", "etcdctl", "etcdutl"), image: run{entrypoint: []string{"etcd"}}},
		recipe{component: "coredns", kind: images.KindImage, certs: true, parts: []part{binary("", "coredns")},
			image: run{entrypoint: []string{"/coredns"}}},
		recipe{component: "pause", kind: images.KindImage, parts: []part{binary("", "pause")},
			image: run{entrypoint: []string{"/pause"}, user: "65535:65535"}},
	)
	return append(append(out, hostFiles()...), manifests()...)
}

func inBin(names ...string) []part {
	var out []part
	for _, n := range names {
		out = append(out, binary("usr/local/bin/", n))
	}
	return out
}

func kubernetesImages() []recipe {
	var out []recipe
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		out = append(out, recipe{
			component: name, kind: images.KindImage, parts: inBin(name),
			certs: name != "kube-proxy", base: name == "kube-proxy",
			image: run{entrypoint: []string{name}},
		})
	}
	return out
}

func hostFiles() []recipe {
	files := func(component string, parts []part) recipe {
		return recipe{component: component, kind: images.KindFiles, parts: parts}
	}
	var plugins []part
	for _, n := range []string{"bandwidth", "bridge", "dhcp", "firewall", "host-device", "host-local", "ipvlan", "loopback",
		"macvlan", "portmap", "ptp", "sbr", "static", "tap", "tuning", "vlan", "vrf"} {
		plugins = append(plugins, binary("opt/cni/bin/", n))
	}
	return []recipe{
		files("kubelet", inBin("kubelet")), files("kubectl", inBin("kubectl")), files("kubeadm", inBin("kubeadm")),
		files("etcdctl", inBin("etcdctl")), files("etcdutl", inBin("etcdutl")),
		files("containerd", inBin("containerd", "containerd-shim-runc-v2", "ctr")),
		files("runc", []part{binary("usr/local/sbin/", "runc")}),
		files("cni-plugins", plugins),
	}
}

func manifests() []recipe {
	return []recipe{
		{component: "calico-manifests", kind: images.KindManifests, parts: []part{
			{path: "calico/calico-vxlan.yaml", module: "manifests/calico-vxlan.yaml"},
			{path: "calico/calico-typha.yaml", module: "manifests/calico-typha.yaml"},
			{path: "calico/calico.yaml", module: "manifests/calico.yaml"},
			{path: "calico/calico-policy-only.yaml", module: "manifests/calico-policy-only.yaml"},
			{path: "calico/crds.yaml", module: "manifests/crds.yaml"},
		}},
		{component: "coredns-manifests", kind: images.KindManifests, parts: []part{
			{path: "coredns/coredns.yaml.base", module: "cluster/addons/dns/coredns/coredns.yaml.base"},
		}},
	}
}
