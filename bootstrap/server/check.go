package server

import (
	"bufio"
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/semver"
	"k8s.io/apimachinery/pkg/util/validation"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/internal/fault"
)

func checkRoot() error {
	if os.Geteuid() != 0 {
		return fault.New("not-root", "change this host", errors.New("that needs root"), "run it as root, for example with sudo")
	}
	return nil
}

func validHost(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }

// wants tells whether a version is the one that was asked for, or of the minor that was.
func (h Host) wants(version string) bool {
	asked := "v" + strings.TrimPrefix(h.KubernetesVersion, "v")
	return h.KubernetesVersion == "" || asked == version || asked == semver.MajorMinor(version)
}

// diskNeeded is what programs, images and etcd take on a new node, with a reserve, in bytes.
const diskNeeded = 3 << 30

// preflight looks at everything that could go wrong, before anything is written, and decides what becomes of a containerd that
// is there. skew is this host's clock minus the cluster's, if there is one.
func (h Host) preflight(
	ctx context.Context, n *bootstrap.Node, c bootstrap.Cluster, b *source, skew time.Duration, external *preflight.ExternalEtcd,
) error {
	ports := preflight.Ports(n.ControlPlane)
	if external != nil {
		ports = preflight.WithoutEtcd(ports)
	}
	look := lookForContainerd(ctx)
	facts := preflight.Facts{
		NodeName: n.Name, Address: n.Address, ControlPlane: n.ControlPlane, PodCIDR: c.PodCIDR, ServiceCIDR: c.ServiceCIDR,
		Ports: ports, ExternalEtcd: external, EtcdDir: "/var/lib/etcd", StateDir: node.StateDir, DiskNeeded: diskNeeded,
		BundleVersion: b.KubernetesVersion(), ClusterVersion: c.KubernetesVersion,
		Containerd:  look,
		ClusterTime: func(context.Context) (time.Time, error) { return time.Now().Add(-skew), nil },
	}
	if n.VirtualIPInterface != "" {
		facts.VirtualIP, facts.VirtualIPLink, facts.VirtualIPHeld = c.VirtualIP.Addr(), n.VirtualIPInterface, !n.Init
	}
	warnings, err := preflight.Run(ctx, facts, h.Ignore)
	if h.Warn != nil {
		for _, w := range warnings {
			h.Warn(w)
		}
	}
	n.Runtime = cri.Choose(look, slices.Contains(h.Skip, "containerd"))
	return err
}

// lookForContainerd looks once, so that what was found fit is what is used.
func lookForContainerd(ctx context.Context) func() (*cri.Found, error) {
	return sync.OnceValues(func() (*cri.Found, error) { return cri.Look(ctx, cri.Socket) })
}

// hasResolver tells whether this host knows a resolver that pods could ask too.
func hasResolver() bool {
	for _, path := range bootstrap.Resolvers() {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 2 || fields[0] != "nameserver" {
				continue
			}
			if a, err := netip.ParseAddr(fields[1]); err == nil && !a.IsLoopback() {
				return true
			}
		}
	}
	return false
}
