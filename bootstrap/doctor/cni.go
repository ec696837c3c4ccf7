package doctor

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"slipway.dev/slipway/bootstrap"
)

const cniDir = bootstrap.CNIConfigs

// calicoLink is the end of Calico's tunnel to the other nodes.
const calicoLink = "vxlan.calico"

func cni(_ context.Context, h *Host) []Finding {
	first := h.cniConfiguration()
	if first == "" {
		if s := h.node.saved; s != nil && s.Spec.Cluster.NoCNI {
			return []Finding{problem("there is no network for pods in %s", cniDir).why("this cluster was begun with --cni none").
				advise("install a network of your own")}
		}
		return []Finding{problem("there is no network for pods in %s", cniDir).why("the network's pod writes a file there when it runs")}
	}
	out := []Finding{ok("containerd takes %s", first)}
	if !h.ownCalico(first) {
		return out
	}
	up, err := linkUp(calicoLink)
	switch {
	case err != nil:
		return append(out, problem("link %s is not there: pods do not reach those of other nodes", calicoLink).because(err).
			advise("look at calico-node on this node: `kubectl -n kube-system logs -l k8s-app=calico-node`"))
	case !up:
		return append(out, problem("link %s is down: pods do not reach those of other nodes", calicoLink).
			advise("run `ip link set %s up`", calicoLink))
	}
	return append(out, ok("link %s is there", calicoLink))
}

// cniConfiguration is the file that containerd takes: the first by name.
func (h *Host) cniConfiguration() string {
	entries, _ := os.ReadDir(h.path(cniDir)) // sorted; none is what is said
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".conf", ".conflist", ".json":
			return filepath.Join(cniDir, e.Name())
		}
	}
	return ""
}

// ownCalico tells whether that is the Calico which slipway runs: with others' the tunnel may be of another kind.
func (h *Host) ownCalico(path string) bool {
	if s := h.node.saved; s == nil || s.Spec.Cluster.Kubeadm || s.Spec.Cluster.NoCNI {
		return false
	}
	return strings.Contains(filepath.Base(path), "calico")
}

func linkUp(name string) (bool, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return false, err
	}
	return l.Attrs().Flags&net.FlagUp != 0, nil
}
