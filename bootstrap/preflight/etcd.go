package preflight

import (
	"context"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"slipway.dev/slipway/bootstrap/etcd"
)

// ExternalEtcd is an etcd that the cluster does not run itself.
type ExternalEtcd struct {
	URLs     []string
	Identity etcd.Identity
	// Used is set where the cluster runs, and its objects are there.
	Used bool
}

// etcdMinimum is the oldest that Kubernetes 1.35 to 1.37 supports, by kubeadm's MinExternalEtcdVersion:
// https://github.com/kubernetes/kubernetes/blob/v1.37.1/cmd/kubeadm/app/constants/constants.go
const etcdMinimum = "3.5.24"

// registry is where API servers keep their objects, unless they are told otherwise.
const registry = "/registry/"

// etcdLimit is more than members take that are well. It leaves time to say who was silent.
const etcdLimit = 5 * time.Second

func externalEtcd(ctx context.Context, f Facts) []Finding {
	if f.ExternalEtcd == nil || !f.ControlPlane {
		return nil
	}
	c, err := etcd.OpenAs(ctx, f.ExternalEtcd.URLs, f.ExternalEtcd.Identity)
	if err != nil {
		return []Finding{problem("etcd cannot be asked: %v", err)}
	}
	defer c.Close()
	asking, cancel := context.WithTimeout(ctx, etcdLimit)
	defer cancel()
	found, answers := judgeEndpoints(c.Look(asking))
	if !answers {
		return found
	}
	asking, cancel = context.WithTimeout(ctx, etcdLimit)
	defer cancel()
	key, err := c.First(asking, registry)
	switch {
	case err != nil:
		found = append(found, problem("etcd answers, but not with what a majority of its members knows: %v", err).
			advise("look at `etcdctl endpoint status --cluster`: it needs a leader, and this client the right to read"))
	case key != "" && !f.ExternalEtcd.Used:
		found = append(found, problem("etcd holds the objects of a cluster already, among them %q", key).
			advise("use another etcd; or, if that cluster is gone for good, remove what is left of it: `etcdctl del --prefix %s`", registry))
	}
	return found
}

// judgeEndpoints tells too whether any of them answers: the API server uses those that do.
func judgeEndpoints(all []etcd.Endpoint) (out []Finding, answers bool) {
	var first *etcd.Endpoint
	for _, e := range all {
		switch {
		case e.Err != nil:
			continue
		case first == nil:
			first = &e
		case e.Status.Header.ClusterId != first.Status.Header.ClusterId:
			out = append(out, problem("%s and %s are of different clusters of etcd", first.URL, e.URL).
				advise("name the members of one"))
		}
		out = append(out, judgeEndpoint(e)...)
	}
	for _, e := range all {
		if e.Err != nil {
			f := problem("etcd does not answer at %s: %v", e.URL, e.Err)
			f.Warning = first != nil
			out = append(out, f)
		}
	}
	return out, first != nil
}

func judgeEndpoint(e etcd.Endpoint) []Finding {
	var out []Finding
	v, err := version.ParseSemantic(e.Status.Version)
	if err != nil || v.LessThan(version.MustParseSemantic(etcdMinimum)) {
		out = append(out, problem("etcd at %s is of version %q; Kubernetes needs %s", e.URL, e.Status.Version, etcdMinimum).
			advise("update etcd, one minor after another"))
	}
	if len(e.Status.Errors) > 0 {
		out = append(out, problem("etcd at %s is not well: %s", e.URL, strings.Join(e.Status.Errors, ", ")).
			advise("mend that first; `etcdctl alarm list` and https://etcd.io/docs/v3.6/op-guide/maintenance/ say more"))
	}
	return out
}
