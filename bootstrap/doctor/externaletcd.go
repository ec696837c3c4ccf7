package doctor

import (
	"context"
	"slices"
	"strings"

	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/bootstrap/node"
)

// externalEtcd gives where an etcd is that runs elsewhere, and with what it is asked: nothing where none does. Of a control
// plane that kubeadm made the API server's manifest says it.
func (h *Host) externalEtcd(pods []staticPod) (urls []string, f etcd.Files) {
	f = node.EtcdFiles()
	if h.node.saved != nil {
		urls = h.node.saved.Spec.Cluster.ExternalEtcd
	} else if i := slices.IndexFunc(pods, func(p staticPod) bool { return p.name == "kube-apiserver" }); i >= 0 {
		p := pods[i]
		urls = strings.FieldsFunc(p.flag("etcd-servers"), func(r rune) bool { return r == ',' })
		f = etcd.Files{CA: p.flag("etcd-cafile"), Cert: p.flag("etcd-certfile"), Key: p.flag("etcd-keyfile")}
	}
	return urls, etcd.Files{CA: h.path(f.CA), Cert: h.path(f.Cert), Key: h.path(f.Key)}
}

// externalHealth asks each URL for itself: the API server uses those that answer.
func externalHealth(ctx context.Context, urls []string, files etcd.Files) []Finding {
	const advice = "look at etcd there, and whether this host reaches it; whoever runs it knows more"
	c, err := etcd.Open(ctx, urls, files)
	if err != nil {
		return []Finding{problem("the external etcd cannot be asked").because(err).advise(advice)}
	}
	defer c.Close()
	asking, cancel := context.WithTimeout(ctx, memberLimit)
	defer cancel()
	var out []Finding
	var answers []etcd.Endpoint
	for _, e := range c.Look(asking) {
		if e.Err != nil {
			out = append(out, warning("the external etcd does not answer at %s", e.URL).because(e.Err).advise(advice))
			continue
		}
		answers = append(answers, e)
	}
	if len(answers) == 0 {
		return append(out, problem("the external etcd does not answer at all").advise(advice))
	}
	e := etcdState{status: answers[0].Status}
	if e.status.Leader == 0 {
		out = append(out, problem("the external etcd has no leader: nothing in the cluster can be changed").advise(advice))
	}
	out = append(append(out, e.alarms()...), e.room()...)
	return append(out, ok("etcd %s is external, and answers at %d of %d URLs (%s)",
		e.status.Version, len(answers), len(urls), strings.Join(urls, ", ")))
}
