package certs

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"
)

// File is one file of a node.
type File struct {
	Path string // below /etc/kubernetes, or absolute
	Data []byte
	Mode fs.FileMode
	// Link, when set, is the target of a symbolic link to make at Path; Data is then what is read
	// through it. The kubelet can only rotate its client certificate if "current" is a link.
	Link string
}

const (
	secret fs.FileMode = 0o600
	public fs.FileMode = 0o644
)

// Files gives the files of the authorities themselves, of those that are there: control planes only.
func (a *Authorities) Files() []File {
	var out []File
	for _, name := range authorityNames() {
		if ca := a.byName()[name]; ca.cert != nil {
			out = append(out, pair(authorityPath(name), issued{cert: ca.certPEM, key: ca.keyPEM})...)
		}
	}
	if a.serviceAccount.private == nil {
		return out
	}
	base := authorityPath(ServiceAccount)
	return append(out,
		File{Path: base + ".key", Data: a.serviceAccount.private, Mode: secret},
		File{Path: base + ".pub", Data: a.serviceAccount.public, Mode: public})
}

// NodeFiles gives all files of a node, with new keys and certificates.
func (a *Authorities) NodeFiles(c Cluster, n Node, now time.Time) ([]File, error) {
	if err := check(c, n); err != nil {
		return nil, err
	}
	out := []File{{Path: authorityPath(ClusterCA) + ".crt", Data: a.cluster.certPEM, Mode: public}}
	if n.ControlPlane {
		out = a.Files()
	}
	for _, e := range Table() {
		if !n.ControlPlane && !e.Workers || a.isExternal(e.Authority) {
			continue
		}
		files, err := a.files(e, c, n, now)
		if err != nil {
			return nil, fmt.Errorf("make certificates of node %q: %w", n.Name, err)
		}
		out = append(out, files...)
	}
	conf, err := KubeletKubeconfig(c.Name, kubeletAPI(c, n), a.cluster.certPEM, n.Name)
	if err != nil {
		return nil, err
	}
	return append(out, File{Path: "kubelet.conf", Data: conf, Mode: secret}), nil
}

func check(c Cluster, n Node) error {
	switch {
	case n.Name == "":
		return fmt.Errorf("make certificates: the node has no name")
	case len(n.Addresses) == 0:
		return fmt.Errorf("make certificates of node %q: it has no address", n.Name)
	case !n.ControlPlane && c.Endpoint == "":
		return fmt.Errorf("make certificates of node %q: the cluster has no endpoint", n.Name)
	}
	return nil
}

func (a *Authorities) files(e Entry, c Cluster, n Node, now time.Time) ([]File, error) {
	i, err := a.issue(e, e.request(c, n), now)
	if err != nil {
		return nil, err
	}
	switch e.Form {
	case Kubeconfig:
		data, err := a.kubeconfig(c.Name, e.API(c, n), e.CommonName(n), i)
		return []File{{Path: e.Path, Data: data, Mode: secret}}, err
	case Rotated:
		return rotated(e.Path, i, now), nil
	default:
		return pair(e.Path, i), nil
	}
}

// RotatedFiles gives the files of the kubelet's client certificate when it came through a request
// of the node's own: it lies where the kubelet looks for it and can rotate it.
func RotatedFiles(certPEM, keyPEM []byte, now time.Time) []File {
	return rotated(kubeletClient, issued{cert: certPEM, key: keyPEM}, now)
}

func pair(base string, i issued) []File {
	return []File{{Path: base + ".crt", Data: i.cert, Mode: public}, {Path: base + ".key", Data: i.key, Mode: secret}}
}

func rotated(current string, i issued, now time.Time) []File {
	data := slices.Concat(bytes.TrimSpace(i.cert), []byte("\n"), i.key) // without the newline the key cannot be read
	dated := path.Join(path.Dir(current), "kubelet-client-"+now.Format("2006-01-02-15-04-05")+".pem")
	return []File{
		{Path: dated, Data: data, Mode: secret},
		{Path: current, Data: data, Mode: secret, Link: dated},
	}
}
