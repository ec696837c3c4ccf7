package settings

import "strings"

// What Slipway's own parts hold together, or what a field of its own sets: whoever changed it in one place would have a
// cluster whose parts do not find or trust each other. A name that ends in a hyphen stands for all that begin with it.

const (
	wiring   = "Slipway sets it itself: the cluster's parts find each other by it"
	identity = "Slipway sets it itself, with the certificates and keys that it makes"
	access   = "Slipway sets it itself: it decides who may do what with the cluster"
	absent   = "there is no such file where it runs: only Slipway's own are in its pod"
	useGates = "give gates to all components at once, with featureGates"
	usePods  = "use podCIDR"
	useRange = "use serviceCIDR"
)

// ownedArg says why an argument cannot be given to a component, or nothing.
func ownedArg(component, name string) string {
	for _, list := range []map[string]string{ownedByAll(), ownedArgs(component)} {
		for owned, why := range list {
			if name == owned || strings.HasSuffix(owned, "-") && strings.HasPrefix(name, owned) {
				return why
			}
		}
	}
	return ""
}

func ownedByAll() map[string]string {
	return map[string]string{
		"bind-address": wiring, "secure-port": wiring, "help": "it would not run", "version": "it would not run",
		"client-ca-file": identity, "tls-cert-file": identity, "tls-private-key-file": identity, "cert-dir": identity,
		"requestheader-": identity, "kubeconfig": identity, "authentication-kubeconfig": identity, "authorization-kubeconfig": identity,
		"leader-elect": wiring, "master": wiring, "feature-gates": useGates, "service-cluster-ip-range": useRange, "cluster-cidr": usePods,
	}
}

func ownedArgs(component string) map[string]string {
	switch component {
	case apiServer:
		return map[string]string{
			"advertise-address": wiring, "allow-privileged": wiring, "etcd-cafile": identity, "etcd-certfile": identity, "etcd-keyfile": identity,
			"etcd-servers": wiring, "etcd-prefix": wiring, "endpoint-reconciler-type": wiring,
			"kubelet-certificate-authority": identity, "kubelet-client-": identity,
			"proxy-client-": identity, "service-account-": identity, "encryption-provider-config": identity,
			"authorization-mode": access, "authorization-config": access, "authorization-policy-file": absent, "authentication-config": access,
			"anonymous-auth": access, "enable-bootstrap-token-auth": access, "oidc-": access, "token-auth-file": absent,
			"audit-policy-file": absent, "audit-log-path": absent, "audit-webhook-config-file": absent, "admission-control-config-file": absent,
			"egress-selector-config-file": absent, "tracing-config-file": absent, "tls-sni-cert-key": absent, "peer-ca-file": absent,
		}
	case controllerManager:
		return map[string]string{
			"cluster-name": wiring, "allocate-node-cidrs": wiring, "use-service-account-credentials": access,
			"root-ca-file": identity, "service-account-private-key-file": identity, "cluster-signing-": identity,
		}
	case scheduler:
		return map[string]string{"config": absent}
	}
	return nil
}

// OwnedByKubelet are the fields of a KubeletConfiguration that are refused, and why.
func OwnedByKubelet() map[string]string {
	return map[string]string{
		"staticPodPath": wiring, "staticPodURL": wiring, "containerRuntimeEndpoint": wiring, "imageServiceEndpoint": wiring,
		"cgroupDriver": wiring, "clusterDNS": wiring, "clusterDomain": "use dnsDomain", "podCIDR": usePods, "port": wiring, "address": wiring,
		"enableServer": wiring, "podLogsDir": wiring,
		"registerNode": wiring, "failCgroupV1": wiring, "featureGates": useGates, "registerWithTaints": "use taints",
		"tlsCertFile": identity, "tlsPrivateKeyFile": identity, "serverTLSBootstrap": identity, "rotateCertificates": identity,
		"authentication": access, "authorization": access,
	}
}
