package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/balancer"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/internal/fault"
)

// leaveTime is how long a cluster that does not answer is asked.
const leaveTime = 30 * time.Second

// leaving takes a node out of a cluster that goes on without it.
type leaving struct {
	spec *bootstrap.NodeSpec
	warn func(string)
	gone bool // its host is, for good, and another control plane speaks for it
	kept bool // its host is not to be reset
}

// Leave takes this host's node out of its cluster, without changing the host back: for one that ends with its node. The fault
// is last-control-plane for one without which there is no cluster.
func Leave(ctx context.Context, spec *bootstrap.NodeSpec, warn func(string), report engine.Report) error {
	l := &leaving{spec: spec, warn: warn, kept: true}
	if l.last(ctx) {
		return fault.New("last-control-plane", "take the node out of its cluster",
			errors.New("it is the only control plane, and without it there is no cluster"),
			"add another control plane first, or remove the whole cluster")
	}
	return engine.Run(ctx, spec.Node.Name, l.leave(), report)
}

// Forget takes a node out of the cluster whose host is gone for good, or does not run. It is called on a control plane.
func Forget(ctx context.Context, spec *bootstrap.NodeSpec, report engine.Report) error {
	l := &leaving{spec: spec, gone: true, kept: true}
	return engine.Run(ctx, spec.Node.Name, l.leave(), report)
}

// steps are none where there is no cluster to leave: nothing was joined yet, or this server is all of it.
func (l *leaving) steps(ctx context.Context) []engine.Step {
	if l.spec == nil || !exists(node.KubeletUnit) || l.last(ctx) {
		return nil
	}
	return l.leave()
}

func (l *leaving) leave() []engine.Step {
	do := func(what string, do func(context.Context, kubernetes.Interface, func(string)) error) func(context.Context, func(string)) error {
		return func(ctx context.Context, progress func(string)) error {
			err := l.persist(ctx, progress, do)
			if err == nil {
				return nil
			}
			return fault.New("cluster-unreachable", what, err, l.afterwards())
		}
	}
	always := func(what string) func(context.Context) ([]string, error) {
		return func(context.Context) ([]string, error) { return []string{what}, nil }
	}
	out, before := l.handOver()
	if l.spec.Node.ControlPlane && !l.gone {
		out = append(out, engine.Step{
			Name: "leave-api", Needs: before, Check: always("stop the API server"), Do: do("stop serving the cluster's API", l.api),
		})
		before = []string{"leave-api"}
	}
	if l.spec.Node.ControlPlane && !l.externalEtcd() {
		out = append(out, engine.Step{
			Name: "leave-etcd", Needs: before, Check: always("remove the member of etcd"), Do: do("leave etcd", l.etcd),
		})
		before = []string{"leave-etcd"}
	}
	return append(out, engine.Step{
		Name: "leave-cluster", Needs: before, Check: always("delete the Node"), Do: do("delete the Node", l.node),
	})
}

// afterwards is what to do when the cluster did not answer.
func (l *leaving) afterwards() string {
	if l.kept {
		return "let the cluster answer again, and run the same command again"
	}
	return "let the cluster answer again and reset then; or use --force, and " + l.byHand()
}

// byHand is what an administrator does for a node that could not.
func (l *leaving) byHand() string {
	text := "remove what is left of this node on a control plane: `kubectl delete node " + l.spec.Node.Name + "`"
	if l.spec.Node.ControlPlane && !l.externalEtcd() {
		text += ", and its member of etcd: `etcdctl member list`, `etcdctl member remove ID`"
	}
	return text
}

// handOver lets another control plane have the virtual IP before anything else ends here. It gives the name of its step too.
func (l *leaving) handOver() ([]engine.Step, []string) {
	const name = "leave-virtual-ip"
	if l.gone || !l.spec.Node.ControlPlane || !l.spec.Cluster.VirtualIP.IsValid() {
		return nil, nil
	}
	return []engine.Step{{
		Name:  name,
		Check: func(context.Context) ([]string, error) { return []string{"stop keepalived"}, nil },
		Do: func(ctx context.Context, _ func(string)) error {
			if !l.another(ctx) {
				return nil // nobody could serve behind it; whether this server can leave is not known yet
			}
			return node.ReleaseVirtualIP(ctx, l.spec.Cluster)
		},
	}}, []string{name}
}

// persist tries again for a while: connections break while API servers and members of etcd go, this server's own among
// them.
func (l *leaving) persist(
	ctx context.Context, progress func(string), do func(context.Context, kubernetes.Interface, func(string)) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	c, err := l.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(pollLeave)
	defer tick.Stop()
	var last error
	for {
		err := do(ctx, c, progress)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // what only ran out of time does not say why
			last = err
			progress(err.Error())
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

func (l *leaving) client() (kubernetes.Interface, error) {
	here := *l.spec
	here.Node.ControlPlane = here.Node.ControlPlane || l.gone
	return node.Client(&here)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (l *leaving) externalEtcd() bool { return len(l.spec.Cluster.ExternalEtcd) > 0 }

// last tells whether this is the cluster's only control plane: its etcd knows, or the service "kubernetes" where etcd is
// others', or else the load balancer did.
func (l *leaving) last(ctx context.Context) bool {
	if !l.spec.Node.ControlPlane {
		return false
	}
	if !l.externalEtcd() {
		if members, err := node.EtcdMembers(ctx); err == nil {
			return len(members) == 1
		}
	} else if s, err := l.served(ctx); err == nil {
		return l.isIn(s) && len(s.Endpoints) == 1
	}
	servers, err := balancer.ReadServers(node.BalancerServers)
	return err == nil && slices.Equal(servers, []string{l.ownAPI()})
}

// served gives who serves the API right now; what the load balancer knows may be seconds old.
func (l *leaving) served(ctx context.Context) (*discoveryv1.EndpointSlice, error) {
	c, err := node.Client(l.spec)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return apiEndpoints(ctx, c)
}

// askTime is enough for an API server that answers at all.
const askTime = 5 * time.Second

func apiEndpoints(ctx context.Context, c kubernetes.Interface) (*discoveryv1.EndpointSlice, error) {
	return c.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
}

// another tells whether another control plane serves the API.
func (l *leaving) another(ctx context.Context) bool {
	servers, err := balancer.ReadServers(node.BalancerServers)
	return err == nil && slices.ContainsFunc(servers, func(s string) bool { return s != l.ownAPI() && node.AskServer(ctx, s) == nil })
}

func (l *leaving) ownAPI() string {
	return net.JoinHostPort(l.spec.Node.Address.String(), strconv.Itoa(bootstrap.APIPort))
}

// api lets the API server end in good order: it takes its address out of the service "kubernetes" then, so that nobody in
// the cluster is sent to it any more.
func (l *leaving) api(ctx context.Context, c kubernetes.Interface, progress func(string)) error {
	if !l.spec.Cluster.Balanced || !l.another(ctx) {
		return nil // what follows needs the API, and this server may be the only one to ask
	}
	if err := os.Remove(node.APIServerManifest); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	progress("wait until the API server has left the service")
	tick := time.NewTicker(pollLeave)
	defer tick.Stop()
	for {
		s, err := apiEndpoints(ctx, c)
		if err == nil && !l.isIn(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// pollLeave is short, because the API server that is asked may be the one that is ending.
const pollLeave = 200 * time.Millisecond

func (l *leaving) isIn(s *discoveryv1.EndpointSlice) bool {
	own := l.spec.Node.Address.String()
	return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool { return slices.Contains(e.Addresses, own) })
}

func (l *leaving) etcd(ctx context.Context, c kubernetes.Interface, progress func(string)) error {
	return node.LeaveEtcd(ctx, c, l.spec.Node, progress)
}

// node stops the kubelet first, which would go on reporting about a node that is not there. While the cluster does not answer, the
// kubelet goes on too: nothing is reset then.
func (l *leaving) node(ctx context.Context, c kubernetes.Interface, _ func(string)) error {
	if !l.gone {
		_, err := c.CoreV1().Nodes().Get(ctx, l.spec.Node.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return err
		}
		if err := node.StopKubelet(ctx); err != nil {
			return err
		}
	}
	err := c.CoreV1().Nodes().Delete(ctx, l.spec.Node.Name, metav1.DeleteOptions{})
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return nil
	case apierrors.IsForbidden(err): // a worker of a cluster that kubeadm made
		l.warn(fmt.Sprintf("this node may not delete itself: run `kubectl delete node %s` on a control plane", l.spec.Node.Name))
		return nil
	}
	return err
}
