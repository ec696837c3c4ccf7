package approver

import (
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// Verdict is what is to be done with a request.
type Verdict string

// The verdicts.
const (
	Approve Verdict = "approve"
	Deny    Verdict = "deny"   // it can never be right
	Wait    Verdict = "wait"   // it may be right when more is known of the cluster
	Ignore  Verdict = "ignore" // it is decided, or for another signer
)

// What the API server makes of a kubelet's client certificate:
// https://kubernetes.io/docs/reference/access-authn-authz/node/#overview
const (
	userPrefix = "system:node:"
	nodesGroup = "system:nodes"
)

// Judge decides about one request, given all Nodes, the Service of the API servers, which is nil if it is not known, and the
// hosts that the API is reached by from outside, which are for control planes only.
// The text says why, for the administrator. Who asks is what the API server wrote into the request, not what is asked for.
func Judge(
	csr *certificatesv1.CertificateSigningRequest, nodes []*corev1.Node, api *corev1.Service, endpoints ...string,
) (Verdict, string) {
	if csr.Spec.SignerName != certificatesv1.KubeletServingSignerName || settled(csr) {
		return Ignore, ""
	}
	name, err := requester(&csr.Spec)
	if err != nil {
		return Deny, err.Error()
	}
	hosts, err := requestedHosts(&csr.Spec)
	if err != nil {
		return Deny, err.Error()
	}
	if api == nil {
		return Wait, "the address of the API servers' Service is not known yet"
	}
	var node *corev1.Node
	if i := slices.IndexFunc(nodes, func(n *corev1.Node) bool { return n.Name == name }); i >= 0 {
		node = nodes[i]
	}
	owners := ownersBut(name, nodes, api)
	if !isControlPlane(node) {
		for _, host := range endpoints {
			owners[canonical(host)] = "the control planes: the API is reached by it"
		}
	}
	return judgeHosts(hosts, name, node, owners)
}

// isControlPlane goes by a label that a kubelet may not give itself: the admission plugin NodeRestriction sees to that.
func isControlPlane(n *corev1.Node) bool {
	if n == nil {
		return false
	}
	_, ok := n.Labels["node-role.kubernetes.io/control-plane"]
	return ok
}

// judgeHosts looks for what is wrong forever before what is missing for now: a request that has both is denied.
func judgeHosts(hosts []string, name string, node *corev1.Node, owners map[string]string) (Verdict, string) {
	for _, h := range hosts {
		if owner, taken := owners[h]; taken {
			return Deny, fmt.Sprintf("%s belongs to %s", h, owner)
		}
	}
	if node == nil {
		return Wait, fmt.Sprintf("Node %q does not exist yet", name)
	}
	own := reported(node)
	for _, h := range hosts {
		if !own[h] {
			return Wait, fmt.Sprintf("Node %q has not reported %s yet", name, h)
		}
	}
	return Approve, fmt.Sprintf("Node %q has all names and addresses that are asked for, and no other Node does", name)
}

// settled also covers a certificate without a condition, which is nothing to approve anymore.
func settled(csr *certificatesv1.CertificateSigningRequest) bool {
	return len(csr.Status.Certificate) > 0 ||
		slices.ContainsFunc(csr.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
			return c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied ||
				c.Type == certificatesv1.CertificateFailed
		})
}

func requester(spec *certificatesv1.CertificateSigningRequestSpec) (node string, err error) {
	node, ok := strings.CutPrefix(spec.Username, userPrefix)
	if !ok || node == "" || !slices.Contains(spec.Groups, nodesGroup) {
		return "", fmt.Errorf("user %.64q is not a node", spec.Username)
	}
	return node, nil
}
