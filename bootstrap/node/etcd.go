package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
)

// etcdURLs is the annotation of etcd's pods by which kubeadm, and we, find the members.
const etcdURLs = "kubeadm.kubernetes.io/etcd.advertise-client-urls"

// EtcdFiles are what this control plane reaches etcd with.
func EtcdFiles() etcd.Files {
	return etcd.Files{CA: etcdPKI + "/ca.crt", Cert: pkiDir + "/apiserver-etcd-client.crt", Key: pkiDir + "/apiserver-etcd-client.key"}
}

// OpenEtcd makes a client of the cluster's members of etcd, but for this host's own. The fault is etcd-not-found.
func OpenEtcd(ctx context.Context, c kubernetes.Interface, ownNode string) (*etcd.Client, error) {
	urls, err := membersInPods(ctx, c, ownNode)
	if err == nil && len(urls) == 0 {
		urls, err = membersOnNodes(ctx, c, ownNode)
	}
	if err != nil {
		return nil, fmt.Errorf("look for the members of etcd: %w", err)
	}
	if len(urls) == 0 {
		return nil, fault.New("etcd-not-found", "look for the members of etcd", errors.New("no other control plane runs one"),
			"look at the pods of the control planes: `kubectl -n kube-system get pods -l component=etcd`")
	}
	return etcd.Open(ctx, urls, EtcdFiles())
}

func membersInPods(ctx context.Context, c kubernetes.Interface, ownNode string) (urls []string, err error) {
	pods, err := c.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "component=etcd,tier=control-plane"})
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		if u := p.Annotations[etcdURLs]; u != "" && p.Spec.NodeName != ownNode {
			urls = append(urls, strings.Split(u, ",")...)
		}
	}
	return urls, nil
}

// membersOnNodes takes each control plane for a member, where they usually are. A kubelet shows the API its etcd only some time
// after a cluster was made: its first try comes before there is the pod's priority class, and the next a minute later.
func membersOnNodes(ctx context.Context, c kubernetes.Interface, ownNode string) (urls []string, err error) {
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: controlPlaneLabel})
	if err != nil {
		return nil, err
	}
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			if n.Name != ownNode && a.Type == corev1.NodeInternalIP {
				urls = append(urls, https(a.Address, bootstrap.EtcdPort))
			}
		}
	}
	return urls, nil
}

// joinEtcd makes this control plane a member of the cluster's etcd, with a vote. Several may join at the same moment:
// from the moment one is added until it has started, the others wait, because a new member must be told exactly who
// the others are.
func (n *builder) joinEtcd(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			if _, err := os.Stat(manifestOf("etcd")); err == nil && n.votes(ctx) {
				return nil, nil
			}
			return []string{"add a member to etcd: " + n.peerURL()}, nil
		},
		Do: func(ctx context.Context, progress func(string)) error {
			c, err := Client(n.NodeSpec)
			if err != nil {
				return err
			}
			return n.alone(ctx, c, progress, func(ctx context.Context) error { return n.becomeMember(ctx, name, c, progress) })
		},
	}
}

// EtcdMembers asks this control plane's own etcd, for a few seconds.
func EtcdMembers(ctx context.Context) ([]etcd.Member, error) {
	c, err := etcd.Open(ctx, []string{https(loopback, bootstrap.EtcdPort)}, EtcdFiles())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return c.Members(ctx)
}

func (n *builder) peerURL() string { return https(n.Node.Address.String(), bootstrap.EtcdPeerPort) }

// votes tells whether this control plane's own etcd is a member with a vote.
func (n *builder) votes(ctx context.Context) bool {
	all, err := EtcdMembers(ctx)
	m, ok := etcd.Find(all, n.peerURL())
	return err == nil && ok && !m.Learner
}

// The lease that keeps joining control planes apart. One that dies gives it up within its duration.
const (
	joinLease         = "slipway-etcd-join"
	joinLeaseDuration = 15 * time.Second
	joinLeaseRenew    = 10 * time.Second
	joinLeaseRetry    = 500 * time.Millisecond
)

// alone runs do while this host holds the lease.
func (n *builder) alone(ctx context.Context, c kubernetes.Interface, progress func(string), do func(context.Context) error) error {
	lost := errors.New("the turn to join etcd was lost: the API did not answer in time")
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := lost
	var turn sync.Mutex // the elector may end before what it has started does
	over := false
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: joinLease, Namespace: metav1.NamespaceSystem},
			Client:     c.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: n.Node.Name},
		},
		LeaseDuration: joinLeaseDuration, RenewDeadline: joinLeaseRenew, RetryPeriod: joinLeaseRetry,
		ReleaseOnCancel: true, Name: joinLease,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				turn.Lock()
				defer turn.Unlock()
				if !over {
					result = do(ctx)
					cancel()
				}
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(who string) {
				if who != n.Node.Name {
					progress("wait for " + who + ", which is joining etcd")
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("wait for the turn to join etcd: %w", err)
	}
	elector.Run(ctx)
	turn.Lock()
	defer turn.Unlock()
	over = true
	if outer.Err() == nil && errors.Is(result, context.Canceled) {
		return lost
	}
	return result
}

func (n *builder) becomeMember(ctx context.Context, step string, c kubernetes.Interface, progress func(string)) error {
	e, err := OpenEtcd(ctx, c, n.Node.Name)
	if err != nil {
		return err
	}
	defer e.Close()
	all, err := e.Members(ctx)
	if err != nil {
		return err
	}
	over, err := etcd.StartOver(etcdData)
	if err != nil && !errors.Is(err, flock.ErrHeld) { // one that runs is told everything by the others
		return err
	}
	if over || !exists(filepath.Join(etcdData, "member")) || !known(all, n.peerURL()) || !isPod(manifestOf("etcd")) {
		if err := n.startMember(ctx, step, e, all, progress); err != nil {
			return err
		}
		if err := n.settle(ctx, e, progress); err != nil {
			return err
		}
	}
	return e.Promote(ctx, n.peerURL(), progress)
}

// How long a member that the others know by its name may take to serve, and the others to know it.
const (
	settleTime = 300 * time.Millisecond
	settleMax  = 20 * time.Second
	settlePoll = 50 * time.Millisecond
	settleAsk  = 200 * time.Millisecond
)

// settle sees to it that a new member serves its clients soon. It does so once it has seen its own name in what the leader sends.
// But the name often comes with the first snapshot of all the data, in which the member does not see it, and tries again only
// when its request has timed out, after 7 s. So it is started again, while it has no vote that anybody could miss: with the data
// there, the first try succeeds.
func (n *builder) settle(ctx context.Context, others *etcd.Client, progress func(string)) error {
	own, err := etcd.Open(ctx, []string{https(loopback, bootstrap.EtcdPort)}, EtcdFiles())
	if err != nil {
		return err
	}
	defer own.Close()
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	var named time.Time // when the others were seen to know it by its name
	for begin := time.Now(); time.Since(begin) < settleMax; {
		if serves(ctx, own) {
			return nil
		}
		all, err := others.Members(ctx)
		if m, _ := etcd.Find(all, n.peerURL()); err == nil && m.Name != "" && named.IsZero() {
			named = time.Now()
		}
		if !named.IsZero() && time.Since(named) > settleTime {
			progress("start etcd again, which has the data now")
			return cri.Restart(ctx, containerdSocket, "etcd", n.Node.Name, progress)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil // what keeps it, the next step says
}

func serves(ctx context.Context, c *etcd.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, settleAsk)
	defer cancel()
	return c.Look(ctx)[0].Err == nil
}

func known(all []etcd.Member, peerURL string) bool {
	_, ok := etcd.Find(all, peerURL)
	return ok
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// startMember adds this host to the members and lets the kubelet run it. What an earlier try, or a host of this name or
// address that was lost, has left among the members or on the disk goes first.
func (n *builder) startMember(
	ctx context.Context, step string, e *etcd.Client, all []etcd.Member, progress func(string),
) error {
	if err := os.Remove(manifestOf("etcd")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("stop etcd: %w", err)
	}
	for _, m := range all {
		var err error
		switch {
		case m.Name == n.Node.Name, slices.Contains(m.PeerURLs, n.peerURL()):
			err = e.Remove(ctx, m.ID, progress)
		case m.Learner: // it is nobody's turn but ours, so whoever joined with it has given up
			err = e.Clear(ctx, m, progress)
		}
		if err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(etcdData, "member")); err != nil {
		return fmt.Errorf("clear etcd's data: %w", err)
	}
	if err := n.host.Mkdir(step, etcdData, 0o700); err != nil {
		return err
	}
	initial, err := e.Add(ctx, n.Node.Name, n.peerURL(), progress)
	if err != nil {
		return err
	}
	files, err := n.manifests(n.etcdMember("existing", initial))
	if err != nil {
		return err
	}
	return n.host.WriteFiles(step, files)
}

// startingOver has a step that runs etcd first let it start over where its first start was cut off. One with another cluster's data was
// never at that point.
func (n *builder) startingOver(s engine.Step) engine.Step {
	if n.isCopied() {
		return s
	}
	const what = "let etcd start over, whose first start was cut off"
	check, do := s.Check, s.Do
	s.Check = func(ctx context.Context) ([]string, error) {
		change, err := check(ctx)
		if cut, _ := etcd.CutOff(etcdData); cut { // of what cannot be read, etcd says why
			change = append(change, what)
		}
		return change, err
	}
	s.Do = func(ctx context.Context, progress func(string)) error {
		if cut, _ := etcd.CutOff(etcdData); cut {
			progress(what)
			if err := n.startOver(ctx, progress); err != nil {
				return err
			}
		}
		return do(ctx, progress)
	}
	return s
}

// startOver stops the kubelet, which would run etcd in between, and may wait for minutes until it tries again: its own step, which
// comes after, starts it.
func (n *builder) startOver(ctx context.Context, progress func(string)) error {
	if err := StopKubelet(ctx); err != nil {
		return err
	}
	return await(ctx, "wait for etcd to end", func(ctx context.Context) error {
		if err := cri.Kill(ctx, containerdSocket, "etcd", n.Node.Name); err != nil {
			return err
		}
		_, err := etcd.StartOver(etcdData)
		return err
	}, progress)
}

// LeaveEtcd removes the member of a node from etcd. It asks the other members, of which there must be one.
func LeaveEtcd(ctx context.Context, c kubernetes.Interface, n bootstrap.Node, progress func(string)) error {
	e, err := OpenEtcd(ctx, c, n.Name)
	if err != nil {
		return err
	}
	defer e.Close()
	all, err := e.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Name == n.Name || slices.Contains(m.PeerURLs, https(n.Address.String(), bootstrap.EtcdPeerPort)) {
			if err := e.Remove(ctx, m.ID, progress); err != nil {
				return err
			}
		}
	}
	return nil
}
