package certs

import (
	"fmt"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// AdminKubeconfig gives a kubeconfig for an administrator of the cluster, with a new key, for the
// API at server, for example https://10.4.0.2:6443.
func (a *Authorities) AdminKubeconfig(c Cluster, server string, now time.Time) ([]byte, error) {
	e := admin()
	cert, err := a.issue(e, c, Node{}, now)
	if err != nil {
		return nil, err
	}
	return a.kubeconfig(c.Name, server, e.CommonName(Node{}), cert)
}

func (a *Authorities) kubeconfig(cluster, server, user string, i issued) ([]byte, error) {
	auth := &api.AuthInfo{ClientCertificateData: i.cert, ClientKeyData: i.key}
	return a.encode(cluster, server, user, auth)
}

// kubeletConfig refers to the kubelet's rotated certificate instead of embedding the first one,
// which would be stale after a year (kubeadm's kubelet-finalize phase does the same).
func (a *Authorities) kubeletConfig(c Cluster, n Node) (File, error) {
	auth := &api.AuthInfo{ClientCertificate: kubeletClient, ClientKey: kubeletClient}
	data, err := a.encode(c.Name, kubeletAPI(c, n), systemNode(n), auth)
	return File{Path: "kubelet.conf", Data: data, Mode: secret}, err
}

func (a *Authorities) encode(cluster, server, user string, auth *api.AuthInfo) ([]byte, error) {
	context := user + "@" + cluster
	data, err := clientcmd.Write(api.Config{
		Clusters: map[string]*api.Cluster{
			cluster: {Server: server, CertificateAuthorityData: a.cluster.certPEM},
		},
		AuthInfos:      map[string]*api.AuthInfo{user: auth},
		Contexts:       map[string]*api.Context{context: {Cluster: cluster, AuthInfo: user}},
		CurrentContext: context,
	})
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig of %q: %w", user, err)
	}
	return data, nil
}
