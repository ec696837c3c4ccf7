package approver

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	netutils "k8s.io/utils/net"
)

// canonical gives names and addresses one spelling, because clients do not tell spellings apart either: letters in either
// case, a dot at the end, IPv4 written as IPv6, leading zeros.
func canonical(host string) string {
	if ip := netutils.ParseIPSloppy(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func isAddress(host string) bool { return netutils.ParseIPSloppy(host) != nil }

// reported gives what a Node says of itself, each by its type: an address among the names makes it no address of the Node.
func reported(n *corev1.Node) map[string]bool {
	own := map[string]bool{}
	add := func(host string, address bool) {
		if isAddress(host) == address {
			own[canonical(host)] = true
		}
	}
	add(n.Name, false)
	for _, a := range n.Status.Addresses {
		switch a.Type {
		case corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalDNS:
			add(a.Address, false)
		case corev1.NodeInternalIP, corev1.NodeExternalIP:
			add(a.Address, true)
		}
	}
	return own
}

// ownersBut gives all names and addresses that are not that Node's, whatever their type, with who has them.
func ownersBut(name string, nodes []*corev1.Node, api *corev1.Service) map[string]string {
	owners := map[string]string{}
	for _, n := range nodes {
		if n.Name == name {
			continue
		}
		owner := "Node " + n.Name
		owners[canonical(n.Name)] = owner
		for _, a := range n.Status.Addresses {
			owners[canonical(a.Address)] = owner
		}
	}
	for _, ip := range append([]string{api.Spec.ClusterIP}, api.Spec.ClusterIPs...) {
		owners[canonical(ip)] = "the API servers' Service"
	}
	return owners
}
