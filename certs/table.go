package certs

import "path"

// The authorities and the key pair of service accounts, by the base name of their files below
// /etc/kubernetes/pki.
const (
	ClusterCA      = "ca"
	EtcdCA         = "etcd/ca"
	FrontProxyCA   = "front-proxy-ca"
	ServiceAccount = "sa"
)

func authorityNames() []string { return []string{ClusterCA, EtcdCA, FrontProxyCA} }

func commonNames() map[string]string {
	return map[string]string{ClusterCA: "kubernetes", EtcdCA: "etcd-ca", FrontProxyCA: "front-proxy-ca"}
}

// Form is how a certificate and its key lie on disk.
type Form int

// The forms.
const (
	Pair       Form = iota // PATH.crt and PATH.key
	Kubeconfig             // PATH is a kubeconfig with both embedded
	Rotated                // one dated file with both, and PATH a link to it, as the kubelet rotates them
)

// Entry is one row of the table of certificates.
type Entry struct {
	Name           string
	Path           string // below /etc/kubernetes, or absolute
	Form           Form
	Authority      string
	CommonName     func(Node) string
	Organization   string
	Server, Client bool                         // extended key usages
	Hosts          func(Cluster, Node) []string // names and addresses; servers have some, clients none
	Workers        bool                         // workers get it too; control planes get all
	API            func(Cluster, Node) string   // of a kubeconfig: the API server's address
}

// Table lists every certificate of a node, in the order in which the files are written.
func Table() []Entry {
	return append(append(servers(), clients()...), kubeconfigs()...)
}

func servers() []Entry {
	return []Entry{
		{Name: "apiserver", Path: "pki/apiserver", Authority: ClusterCA,
			CommonName: fixed("kube-apiserver"), Server: true, Hosts: apiHosts},
		{Name: "kubelet-serving", Path: KubeletPKI + "/kubelet", Authority: ClusterCA, Workers: true,
			CommonName: systemNode, Organization: "system:nodes", Server: true, Hosts: kubeletHosts},
		// etcd dials itself through its own gateway with the serving certificate: it is a client too
		// (etcd issue 9785), and a peer is both ends of its connections.
		{Name: "etcd-server", Path: "pki/etcd/server", Authority: EtcdCA,
			CommonName: nodeName, Server: true, Client: true, Hosts: etcdHosts},
		{Name: "etcd-peer", Path: "pki/etcd/peer", Authority: EtcdCA,
			CommonName: nodeName, Server: true, Client: true, Hosts: etcdHosts},
	}
}

func clients() []Entry {
	return []Entry{
		{Name: "apiserver-kubelet-client", Path: "pki/apiserver-kubelet-client", Authority: ClusterCA,
			CommonName: fixed("kube-apiserver-kubelet-client"), Organization: "kubeadm:cluster-admins", Client: true},
		{Name: "apiserver-etcd-client", Path: "pki/apiserver-etcd-client", Authority: EtcdCA,
			CommonName: fixed("kube-apiserver-etcd-client"), Client: true},
		{Name: "etcd-healthcheck-client", Path: "pki/etcd/healthcheck-client", Authority: EtcdCA,
			CommonName: fixed("kube-etcd-healthcheck-client"), Client: true},
		{Name: "front-proxy-client", Path: "pki/front-proxy-client", Authority: FrontProxyCA,
			CommonName: fixed("front-proxy-client"), Client: true},
		{Name: "kubelet-client", Path: kubeletClient, Form: Rotated, Authority: ClusterCA, Workers: true,
			CommonName: systemNode, Organization: "system:nodes", Client: true},
	}
}

func kubeconfigs() []Entry {
	return []Entry{
		admin(),
		{Name: "super-admin.conf", Path: "super-admin.conf", Form: Kubeconfig, Authority: ClusterCA,
			CommonName: fixed("kubernetes-super-admin"), Organization: "system:masters", Client: true, API: sharedAPI},
		{Name: "controller-manager.conf", Path: "controller-manager.conf", Form: Kubeconfig, Authority: ClusterCA,
			CommonName: fixed("system:kube-controller-manager"), Client: true, API: ownAPI},
		{Name: "scheduler.conf", Path: "scheduler.conf", Form: Kubeconfig, Authority: ClusterCA,
			CommonName: fixed("system:kube-scheduler"), Client: true, API: ownAPI},
	}
}

func admin() Entry {
	return Entry{Name: "admin.conf", Path: "admin.conf", Form: Kubeconfig, Authority: ClusterCA,
		CommonName: fixed("kubernetes-admin"), Organization: "kubeadm:cluster-admins", Client: true, API: sharedAPI}
}

// KubeletPKI is where the kubelet keeps its own certificates.
const (
	KubeletPKI    = "/var/lib/kubelet/pki"
	kubeletClient = KubeletPKI + "/kubelet-client-current.pem"
)

func fixed(name string) func(Node) string { return func(Node) string { return name } }
func nodeName(n Node) string              { return n.Name }
func systemNode(n Node) string            { return "system:node:" + n.Name }

func authorityPath(name string) string { return path.Join("pki", name) }
