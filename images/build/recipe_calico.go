package build

import "slipway.dev/slipway/images"

// calicoImages follow upstream's Dockerfiles, with Debian's userland in place of theirs.
func calicoImages() []recipe {
	return []recipe{calicoNode(), calicoCNI(),
		{component: "calico-typha", kind: images.KindImage, certs: true,
			parts: []part{
				{path: "usr/bin/calico-typha", binary: "calico-typha"},
				{path: "etc/calico/typha.cfg", module: "typha/docker-image/typha.cfg"},
			},
			image: run{cmd: []string{"/usr/bin/calico-typha"}, user: "999"}},
		// The probes run check-status, which reads /status; both folders are written by user 999.
		{component: "calico-kube-controllers", kind: images.KindImage, certs: true,
			parts: []part{
				{path: "usr/bin/kube-controllers", binary: "kube-controllers"},
				{path: "usr/bin/check-status", binary: "check-status"},
				{path: "status", mode: 0o777},
				{path: "profiles", mode: 0o777},
			},
			image: run{entrypoint: []string{"/usr/bin/kube-controllers"}, user: "999"}},
	}
}

// calicoNode runs runit's services. A module's zip drops the execute bits that its scripts need.
func calicoNode() recipe {
	parts := []part{
		{path: "usr/bin/calico-node", binary: "calico-node"},
		{path: "bin/calico-node", link: "/usr/bin/calico-node"},
		{path: "etc/calico/felix.cfg", module: "node/filesystem/etc/calico/felix.cfg"},
		{path: "etc/calico/confd", mode: 0o755},
		{path: "etc/rc.local", module: "node/filesystem/etc/rc.local", mode: 0o755},
		{path: "etc/service/available", module: "node/filesystem/etc/service/available", mode: 0o755},
		{path: "etc/nsswitch.conf", module: "node/filesystem/etc/nsswitch.conf"},
	}
	for _, n := range []string{"start_runit", "restart-calico-confd", "versions"} {
		parts = append(parts, part{path: "usr/sbin/" + n, module: "node/filesystem/sbin/" + n, mode: 0o755})
	}
	return recipe{component: "calico-node", kind: images.KindImage, base: true, parts: parts,
		image: run{cmd: []string{"start_runit"}, env: []string{"SVDIR=/etc/service/enabled"}}}
}

// calicoCNI holds what its install program copies to the host, and the plugins that Calico's
// network configuration chains.
func calicoCNI() recipe {
	parts := []part{
		{path: "opt/cni/bin/calico", binary: "calico"},
		{path: "opt/cni/bin/calico-ipam", hard: "opt/cni/bin/calico"},
		{path: "opt/cni/bin/install", binary: "install"},
	}
	for _, n := range []string{"bandwidth", "host-local", "loopback", "portmap", "tuning"} {
		parts = append(parts, part{path: "opt/cni/bin/" + n, binary: "cni-plugins/" + n})
	}
	return recipe{component: "calico-cni", kind: images.KindImage, certs: true, parts: parts,
		image: run{cmd: []string{"/opt/cni/bin/install"}, dir: "/opt/cni/bin",
			env: []string{"PATH=/opt/cni/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}}
}
