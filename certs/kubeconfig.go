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
	i, err := a.issue(e, e.request(c, Node{}), now)
	if err != nil {
		return nil, err
	}
	return a.kubeconfig(c.Name, server, e.CommonName(Node{}), i)
}

// ServiceAccountKubeconfig gives a kubeconfig with the rights of a service account, whose tokens only the API server makes: to the API,
// a service account is a user with a certain name.
func (a *Authorities) ServiceAccountKubeconfig(c Cluster, server, namespace, name string, now time.Time) ([]byte, error) {
	user := "system:serviceaccount:" + namespace + ":" + name
	e := Entry{Name: name, Form: Kubeconfig, Authority: ClusterCA, CommonName: fixed(user), Client: true}
	i, err := a.issue(e, e.request(c, Node{}), now)
	if err != nil {
		return nil, err
	}
	return a.kubeconfig(c.Name, server, user, i)
}

// KubeletKubeconfig gives a node's kubelet.conf, for which no authority's key is needed. It refers
// to the kubelet's rotated certificate instead of embedding the first one, which would be stale
// after a year (kubeadm's kubelet-finalize phase does the same).
func KubeletKubeconfig(cluster, server string, caPEM []byte, node string) ([]byte, error) {
	auth := &api.AuthInfo{ClientCertificate: kubeletClient, ClientKey: kubeletClient}
	return encode(cluster, server, caPEM, systemNode(Node{Name: node}), auth)
}

func (a *Authorities) kubeconfig(cluster, server, user string, i issued) ([]byte, error) {
	auth := &api.AuthInfo{ClientCertificateData: i.cert, ClientKeyData: i.key}
	return encode(cluster, server, a.cluster.certPEM, user, auth)
}

func encode(cluster, server string, caPEM []byte, user string, auth *api.AuthInfo) ([]byte, error) {
	context := user + "@" + cluster
	data, err := clientcmd.Write(api.Config{
		Clusters: map[string]*api.Cluster{
			cluster: {Server: server, CertificateAuthorityData: caPEM},
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

// currentUser is nil if the current context names no user.
func currentUser(config *api.Config) *api.AuthInfo {
	if c := config.Contexts[config.CurrentContext]; c != nil {
		return config.AuthInfos[c.AuthInfo]
	}
	return nil
}
