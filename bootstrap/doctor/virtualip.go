package doctor

import (
	"context"
	"net"
	"strconv"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/balancer"
	"slipway.dev/slipway/bootstrap/node"
)

// virtualIP asks the API at the virtual IP, if the cluster has one, and says whether this host holds that.
func virtualIP(ctx context.Context, h *Host) []Finding {
	if h.node.saved == nil || !h.node.saved.Spec.Cluster.VirtualIP.IsValid() {
		return nil
	}
	a := h.node.saved.Spec.Cluster.VirtualIP.Addr()
	held, err := node.HoldsVirtualIP(a)
	if err != nil {
		return []Finding{warning("it is not known whether this host holds the virtual IP %s", a).because(err)}
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	server := net.JoinHostPort(a.String(), strconv.Itoa(bootstrap.APIPort))
	if err := balancer.Ask(ctx, server, h.path("/etc/kubernetes/pki/ca.crt")); err != nil {
		return []Finding{problem("the API is not ready at the virtual IP %s; this host holds it: %v", a, held).because(err)}
	}
	if held {
		return []Finding{ok("the API is ready at the virtual IP %s, which this host holds", a)}
	}
	return []Finding{ok("the API is ready at the virtual IP %s, which another host holds", a)}
}
