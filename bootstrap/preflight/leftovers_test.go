package preflight_test

import (
	"testing"

	"slipway.dev/slipway/bootstrap/preflight"
)

func TestLeftovers(t *testing.T) {
	expect(t, look(t, "leftovers", preflight.Facts{Root: tree{"etc/kubernetes/pki/": "", "var/lib/etcd/": ""}.make(t)}))
	for file, want := range map[string]want{
		"etc/kubernetes/manifests/etcd.yaml": problem(": /etc/kubernetes/manifests/etcd.yaml"),
		"etc/kubernetes/kubelet.conf":        problem(": /etc/kubernetes/kubelet.conf"),
		"etc/kubernetes/admin.conf":          problem(": /etc/kubernetes/admin.conf"),
		"var/lib/etcd/member/":               problem(": /var/lib/etcd/member"),
		"var/lib/kubelet/config.yaml":        problem(": /var/lib/kubelet/config.yaml"),
		"etc/rancher/k3s/k3s.yaml":           problem(": /etc/rancher"),
		"var/lib/k0s/pki/":                   problem(": /var/lib/k0s"),
		"etc/cni/net.d/05-bridge.conflist":   warned("is set aside"),
		"etc/cni/net.d/10-calico.conflist":   warned("Calico will overwrite it"),
		"etc/cni/net.d/87-podman.conf":       warned("is set aside"),
	} {
		t.Run(file, func(t *testing.T) {
			f := preflight.Facts{Root: tree{file: ""}.make(t)}
			expect(t, look(t, "leftovers", f), want)
			f.Resuming = true
			expect(t, look(t, "leftovers", f))
		})
	}
	both := tree{"etc/kubernetes/admin.conf": "", "var/lib/k0s/": ""}.make(t)
	expect(t, look(t, "leftovers", preflight.Facts{Root: both}), problem(": /etc/kubernetes/admin.conf, /var/lib/k0s"))
}
