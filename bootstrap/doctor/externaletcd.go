package doctor

import (
	"context"
	"slices"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/bootstrap/node"
)

// externalEtcd gives where an etcd is that runs elsewhere, and with what it is asked: nothing where none does. Of a control
// plane that kubeadm made the API server's manifest says it.
func (h *Host) externalEtcd(pods []staticPod) (urls []string, files etcd.Files) {
	if h.node.saved != nil {
		return h.node.saved.Spec.Cluster.ExternalEtcd, node.EtcdFiles()
	}
	i := slices.IndexFunc(pods, func(p staticPod) bool { return p.name == "kube-apiserver" })
	if i < 0 || pods[i].flag("etcd-servers") == "" {
		return nil, files
	}
	p := pods[i]
	return strings.Split(p.flag("etcd-servers"), ","),
		etcd.Files{CA: p.flag("etcd-cafile"), Cert: p.flag("etcd-certfile"), Key: p.flag("etcd-keyfile")}
}

// externalHealth asks each URL for itself: the API server uses those that answer.
func (h *Host) externalHealth(ctx context.Context, urls []string, files etcd.Files) []Finding {
	const advice = "look at etcd there, and whether this host reaches it; whoever runs it knows more"
	c, err := h.openEtcd(ctx, files, urls...)
	if err != nil {
		return []Finding{problem("the external etcd cannot be asked").because(err).advise(advice)}
	}
	defer c.Close()
	status, silent := askEach(ctx, c, urls)
	var out []Finding
	var answers []*clientv3.StatusResponse
	for i, u := range urls {
		if silent[i] != nil {
			out = append(out, warning("the external etcd does not answer at %s", u).because(silent[i]).advise(advice))
			continue
		}
		answers = append(answers, status[i])
	}
	if len(answers) == 0 {
		return append(out, problem("the external etcd does not answer at all").advise(advice))
	}
	e := etcdState{status: answers[0]}
	if e.status.Leader == 0 {
		out = append(out, problem("the external etcd has no leader: nothing in the cluster can be changed").advise(advice))
	}
	out = append(append(out, e.alarms()...), e.room()...)
	return append(out, ok("etcd %s is external, and answers at %d of %d URLs (%s)",
		e.status.Version, len(answers), len(urls), strings.Join(urls, ", ")))
}

func askEach(ctx context.Context, c *clientv3.Client, urls []string) (status []*clientv3.StatusResponse, silent []error) {
	ctx, cancel := context.WithTimeout(ctx, memberLimit)
	defer cancel()
	status, silent = make([]*clientv3.StatusResponse, len(urls)), make([]error, len(urls))
	var asked sync.WaitGroup
	for i, u := range urls {
		asked.Go(func() { status[i], silent[i] = c.Status(ctx, u) })
	}
	asked.Wait()
	return status, silent
}
