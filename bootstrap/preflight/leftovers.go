package preflight

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"slipway.dev/slipway/bootstrap"
)

// leftoverFiles are patterns of what other installations leave, kubeadm, k3s, RKE2 and k0s among them.
func leftoverFiles() []string {
	return []string{
		"/etc/kubernetes/manifests/*.yaml",
		"/etc/kubernetes/kubelet.conf",
		"/etc/kubernetes/admin.conf",
		etcdMember,
		"/var/lib/kubelet/config.yaml",
		"/etc/rancher",
		"/var/lib/k0s",
	}
}

// etcdMember is the data of a member of etcd.
const etcdMember = "/var/lib/etcd/member"

func leftovers(_ context.Context, f Facts) []Finding {
	if f.Resuming {
		return nil
	}
	var out []Finding
	patterns := leftoverFiles()
	if f.ExternalEtcd != nil { // which may run on this very host
		patterns = slices.DeleteFunc(patterns, func(p string) bool { return p == etcdMember })
	}
	if found := f.glob(patterns...); len(found) > 0 {
		out = append(out, problem("there are files of another installation: %s", strings.Join(found, ", ")))
	}
	return append(out, networkConfigurations(f)...)
}

// calicoConfiguration is the file that Calico writes.
const calicoConfiguration = "10-calico.conflist"

// networkConfigurations are no obstacle: the node sets an admin's own aside, because the container runtime takes the first
// one that it finds.
func networkConfigurations(f Facts) []Finding {
	const dir = bootstrap.CNIConfigs + "/"
	var out []Finding
	for _, path := range f.glob(dir+"*.conflist", dir+"*.conf", dir+"*.json") {
		if filepath.Base(path) == calicoConfiguration {
			out = append(out, warning("%s is there already; Calico will overwrite it", path).advise("remove it"))
			continue
		}
		out = append(out, warning("%s is set aside, so that pods are given Calico's network, and comes back with a reset", path).
			advise("remove it unless you know what it is for"))
	}
	return out
}

// glob gives what there is, with names as on the host.
func (f Facts) glob(patterns ...string) []string {
	var out []string
	for _, p := range patterns {
		found, _ := filepath.Glob(f.path(p)) // fails for malformed patterns only
		for _, name := range found {
			if name, err := filepath.Rel(f.path("/"), name); err == nil {
				out = append(out, "/"+name)
			}
		}
	}
	return out
}
