package node

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"slipway.dev/slipway/bootstrap"
)

const loopback = "127.0.0.1"

func https(host string, port int) string {
	return "https://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// share gives the processors that a component asks for: kubeadm's amount or, where all starts at the same moment on a developer's computer,
// what lets those go first for whom the others wait.
func (n *builder) share(usual, alone string) string {
	if n.Cluster.Alone {
		return alone
	}
	return usual
}

// etcd is the member of a cluster that all its first members begin together.
func (n *builder) etcd() component {
	var members []string
	for _, m := range n.Cluster.ControlPlanes {
		members = append(members, m.Name+"="+https(m.Address.String(), bootstrap.EtcdPeerPort))
	}
	c := n.etcdMember("new", members)
	if n.Cluster.Alone {
		// etcd waits for a vote for up to the election timeout, by chance, at each start. Nobody else's slowness counts here.
		c.args = append(c.args, "--heartbeat-interval=20", "--election-timeout=100") // milliseconds
	}
	return c
}

// etcdMember is a member of a cluster that is new or existing. Once it has data, etcd reads the members from that.
func (n *builder) etcdMember(state string, members []string) component {
	address := n.Node.Address.String()
	return component{
		name: "etcd", cpu: n.share("100m", "200m"), memory: "100Mi",
		// kubeadm finds the members by this.
		annotations: map[string]string{etcdURLs: https(address, bootstrap.EtcdPort)},
		host:        loopback, port: bootstrap.EtcdMetricsPort, scheme: corev1.URISchemeHTTP, liveness: "/livez", ready: "/readyz",
		mounts: []mount{
			readOnlyDir("etcd-certs", etcdPKI),
			{name: "etcd-data", path: etcdData, kind: corev1.HostPathDirectory, writable: true},
		},
		args: []string{
			"--name=" + n.Node.Name,
			"--data-dir=" + etcdData,
			"--initial-cluster=" + strings.Join(members, ","),
			"--initial-cluster-state=" + state,
			"--initial-cluster-token=" + n.Cluster.Name,
			"--initial-advertise-peer-urls=" + https(address, bootstrap.EtcdPeerPort),
			"--listen-peer-urls=" + https(address, bootstrap.EtcdPeerPort),
			"--listen-client-urls=" + https(loopback, bootstrap.EtcdPort) + "," + https(address, bootstrap.EtcdPort),
			"--advertise-client-urls=" + https(address, bootstrap.EtcdPort),
			fmt.Sprintf("--listen-metrics-urls=http://%s:%d", loopback, bootstrap.EtcdMetricsPort),
			"--client-cert-auth=true",
			"--trusted-ca-file=" + etcdPKI + "/ca.crt",
			"--cert-file=" + etcdPKI + "/server.crt",
			"--key-file=" + etcdPKI + "/server.key",
			"--peer-client-cert-auth=true",
			"--peer-trusted-ca-file=" + etcdPKI + "/ca.crt",
			"--peer-cert-file=" + etcdPKI + "/peer.crt",
			"--peer-key-file=" + etcdPKI + "/peer.key",
			"--tls-min-version=TLS1.2",
			"--cipher-suites=" + ciphers(),
			"--feature-gates=InitialCorruptCheck=true",
			"--watch-progress-notify-interval=5s",
		},
	}
}

// etcdServers are where the API server reaches etcd: at this control plane's own member, unless it is external.
func (n *builder) etcdServers() []string {
	if n.externalEtcd() {
		return n.Cluster.ExternalEtcd
	}
	return []string{https(loopback, bootstrap.EtcdPort)}
}

func (n *builder) apiServer() component {
	address := n.Node.Address.String()
	own := secureServing()
	if !n.Cluster.Kubeadm {
		own = append(own, "--encryption-provider-config="+bootstrap.EncryptionConfig)
	}
	return n.withSettings(component{
		name: "kube-apiserver", cpu: "250m",
		annotations: map[string]string{
			"kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint": net.JoinHostPort(address, strconv.Itoa(bootstrap.APIPort)),
		},
		host: address, port: bootstrap.APIPort, scheme: corev1.URISchemeHTTPS, liveness: "/livez", ready: "/readyz",
		mounts: []mount{
			readOnlyDir("k8s-certs", pkiDir), readOnlyDir("apiserver-config", apiServerDir),
			{name: "audit-log", path: auditLogDir, kind: corev1.HostPathDirectory, writable: true},
		},
		args: append([]string{
			"--advertise-address=" + address,
			"--secure-port=" + strconv.Itoa(bootstrap.APIPort),
			"--allow-privileged=true",
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--enable-bootstrap-token-auth=true",
			"--authentication-config=" + authentication,
			"--audit-policy-file=" + auditPolicy,
			"--audit-log-path=" + auditLogDir + "/audit.log",
			"--audit-log-maxage=30", "--audit-log-maxbackup=10", "--audit-log-maxsize=100",
			"--service-cluster-ip-range=" + n.Cluster.ServiceCIDRs(),
			"--service-account-issuer=https://kubernetes.default.svc." + n.Cluster.DNSDomain,
			"--service-account-key-file=" + pkiDir + "/sa.pub",
			"--service-account-signing-key-file=" + pkiDir + "/sa.key",
			"--client-ca-file=" + caFile,
			"--tls-cert-file=" + pkiDir + "/apiserver.crt",
			"--tls-private-key-file=" + pkiDir + "/apiserver.key",
			"--etcd-servers=" + strings.Join(n.etcdServers(), ","),
			"--etcd-cafile=" + etcdPKI + "/ca.crt",
			"--etcd-certfile=" + pkiDir + "/apiserver-etcd-client.crt",
			"--etcd-keyfile=" + pkiDir + "/apiserver-etcd-client.key",
			"--kubelet-certificate-authority=" + caFile,
			"--kubelet-client-certificate=" + pkiDir + "/apiserver-kubelet-client.crt",
			"--kubelet-client-key=" + pkiDir + "/apiserver-kubelet-client.key",
			"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
			"--proxy-client-cert-file=" + pkiDir + "/front-proxy-client.crt",
			"--proxy-client-key-file=" + pkiDir + "/front-proxy-client.key",
			"--requestheader-client-ca-file=" + pkiDir + "/front-proxy-ca.crt",
			"--requestheader-allowed-names=front-proxy-client",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-username-headers=X-Remote-User",
		}, own...),
	})
}

// withSettings gives a component the arguments that the cluster's settings want.
func (n *builder) withSettings(c component) component {
	c.args, c.changed = n.Cluster.Settings.Args(c.name, n.Cluster.KubernetesVersion, c.args)
	return c
}

// secureServing is what all servers of the control plane have in common.
func secureServing() []string {
	return []string{"--tls-min-version=VersionTLS12", "--tls-cipher-suites=" + ciphers(), "--profiling=false"}
}

func (n *builder) controllerManager() component {
	const kubeconfig = controllerManagerKubeconfig
	return n.withSettings(component{
		name: "kube-controller-manager", cpu: n.share("200m", "25m"),
		host: loopback, port: bootstrap.ControllerManagerPort, scheme: corev1.URISchemeHTTPS, liveness: "/healthz", ready: "/healthz",
		mounts: []mount{readOnlyDir("k8s-certs", pkiDir), readOnlyFile("kubeconfig", kubeconfig)},
		args: append([]string{
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=" + loopback,
			"--cluster-name=" + n.Cluster.Name,
			"--controllers=*,bootstrapsigner,tokencleaner",
			n.electLeader(),
			// Each controller starts with requests of its own, which the default of 20 a second strings out over 5 s.
			"--kube-api-qps=100", "--kube-api-burst=200",
			"--use-service-account-credentials=true",
			"--client-ca-file=" + caFile,
			"--requestheader-client-ca-file=" + pkiDir + "/front-proxy-ca.crt",
			"--root-ca-file=" + caFile,
			"--service-account-private-key-file=" + pkiDir + "/sa.key",
			"--cluster-signing-cert-file=" + caFile,
			"--cluster-signing-key-file=" + pkiDir + "/ca.key",
			// Calico gives pods their addresses, from blocks of its own: a range for each node would be a second truth.
			"--allocate-node-cidrs=" + strconv.FormatBool(n.Cluster.Kubeadm && n.Cluster.PodCIDR.IsValid()),
			"--cluster-cidr=" + n.Cluster.PodCIDRs(),
			"--service-cluster-ip-range=" + n.Cluster.ServiceCIDRs(),
		}, secureServing()...),
	})
}

func (n *builder) scheduler() component {
	const kubeconfig = kubernetesDir + "/scheduler.conf"
	return n.withSettings(component{
		name: "kube-scheduler", cpu: n.share("100m", "25m"),
		host: loopback, port: bootstrap.SchedulerPort, scheme: corev1.URISchemeHTTPS, liveness: "/livez", ready: "/readyz",
		mounts: []mount{readOnlyFile("kubeconfig", kubeconfig)},
		args: append([]string{
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=" + loopback,
			n.electLeader(),
		}, secureServing()...),
	})
}

// electLeader: who is alone need not wait until the lease of the one that ran before is over.
func (n *builder) electLeader() string {
	return "--leader-elect=" + strconv.FormatBool(!n.Cluster.Alone)
}
