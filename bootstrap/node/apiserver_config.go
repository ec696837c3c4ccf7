package node

import (
	"slices"

	"slipway.dev/slipway/bootstrap/engine"
)

const (
	apiServerDir   = kubernetesDir + "/apiserver"
	auditPolicy    = apiServerDir + "/audit-policy.yaml"
	authentication = apiServerDir + "/authentication.yaml"
	auditLogDir    = "/var/log/kubernetes/audit"
)

// auditPolicyText keeps who changed what, without the content of secrets and without the control plane's own
// chatter, which would be most of it.
const auditPolicyText = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi*"]
# Before any rule that leaves something out: who read a secret is always said, whoever it was.
- level: Metadata
  resources:
  - {group: "", resources: [secrets, serviceaccounts/token]}
  - {group: authentication.k8s.io, resources: [tokenreviews]}
- level: None
  verbs: [get, list, watch]
  userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
- level: None
  verbs: [get, list, watch]
  users: ["system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"]
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
- level: None
  resources:
  - {group: "", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
- level: Metadata
  resources:
  - {group: "", resources: [configmaps]}
- level: Metadata
  verbs: [get, list, watch]
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
`

// authenticationText lets nobody in without credentials, except where health is asked for and where a new node
// looks for the cluster's authority (kubeadm's discovery).
const authenticationText = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
  - path: /healthz
  - path: /api/v1/namespaces/kube-public/configmaps/cluster-info
`

func (n *builder) apiServerConfig(name string, needs ...string) engine.Step {
	files := []engine.File{
		{Path: auditPolicy, Data: []byte(auditPolicyText), Mode: 0o600},
		{Path: authentication, Data: []byte(authenticationText), Mode: 0o600},
	}
	// Those of a cluster that runs, which its administrator may have changed, come or came with the certificates.
	files = slices.DeleteFunc(files, func(f engine.File) bool {
		came := slices.ContainsFunc(n.Files, func(other engine.File) bool { return other.Path == f.Path })
		return came || (n.Node.Joins || n.Kept) && exists(f.Path)
	})
	return n.filesStep(name, files, needs...)
}
