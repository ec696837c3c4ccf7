package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"slipway.dev/slipway/bootstrap/node"
)

// memberLimit leaves time to say which of the others does not answer.
const memberLimit = time.Second

// defaultQuota is etcd's own, for a member that was not given one: https://etcd.io/docs/v3.6/dev-guide/limit/
const (
	defaultQuota = 2 << 30
	nearQuota    = 80 // percent
)

// etcdHealth asks this host's member, and nothing that needs a majority: each member says by itself what it knows.
func etcdHealth(ctx context.Context, h *Host) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	pods, _ := h.staticPods()
	i := slices.IndexFunc(pods, func(p staticPod) bool { return p.name == "etcd" })
	if i < 0 {
		if urls, files := h.externalEtcd(pods); len(urls) > 0 {
			return externalHealth(ctx, urls, files)
		}
		if slices.Contains(h.components(), "etcd") {
			return []Finding{problem("no member of etcd can run on this host").why("it has no manifest").advise("see what is said of static pods")}
		}
		return []Finding{ok("no member of etcd is to run on this host")}
	}
	own := clientURL(pods[i].flag("listen-client-urls"))
	silent := problem("this host's member of etcd does not answer").advise("see what is said of its container; if that runs, look at its " +
		"log below /var/log/pods: one that starts waits for a majority of all members, so start etcd on the other control planes too")
	c, err := h.openEtcd(ctx, own)
	if err != nil {
		return []Finding{silent.because(err)}
	}
	defer c.Close()
	asking, cancel := context.WithTimeout(ctx, memberLimit)
	defer cancel()
	s, err := c.Status(asking, own)
	if err != nil {
		return []Finding{silent.because(err)}
	}
	list, err := c.MemberList(asking, clientv3.WithSerializable())
	if err != nil {
		return []Finding{problem("this host's member of etcd does not say who the others are").because(err)}
	}
	e := etcdState{status: s, members: list.Members, silent: silentMembers(ctx, c, list.Members, s.Header.MemberId)}
	return e.judge()
}

// clientURL prefers loopback among the URLs that a member listens on.
func clientURL(list string) string {
	urls := strings.Split(list, ",")
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil && u.Hostname() == "127.0.0.1" {
			return text
		}
	}
	return urls[0]
}

func (h *Host) openEtcd(ctx context.Context, endpoint string) (*clientv3.Client, error) {
	f := node.EtcdFiles()
	info := transport.TLSInfo{CertFile: h.path(f.Cert), KeyFile: h.path(f.Key), TrustedCAFile: h.path(f.CA)}
	cfg, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read etcd's certificates: %w", err)
	}
	return clientv3.New(clientv3.Config{Context: ctx, Endpoints: []string{endpoint}, TLS: cfg, Logger: zap.NewNop()})
}

// silentMembers are those of the others that do not answer, or have never started.
func silentMembers(ctx context.Context, c *clientv3.Client, all []*etcdserverpb.Member, own uint64) map[uint64]error {
	ctx, cancel := context.WithTimeout(ctx, memberLimit)
	defer cancel()
	out := map[uint64]error{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, m := range all {
		if m.ID == own {
			continue
		}
		asked.Go(func() {
			err := fmt.Errorf("it has never started")
			if len(m.ClientURLs) > 0 {
				_, err = c.Status(ctx, m.ClientURLs[0])
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out[m.ID] = err
			}
		})
	}
	asked.Wait()
	return out
}

// etcdState is what could be found out.
type etcdState struct {
	status  *clientv3.StatusResponse
	members []*etcdserverpb.Member
	silent  map[uint64]error
}

func (e etcdState) judge() []Finding {
	var out []Finding
	voters, living, leader := 0, 0, ""
	for _, m := range e.members {
		err := e.silent[m.ID]
		if !m.IsLearner {
			voters++
			if err == nil {
				living++
			}
		}
		if m.ID == e.status.Leader {
			leader = memberName(m)
		}
		if err != nil {
			out = append(out, warning("member %s of etcd does not answer", memberName(m)).because(err).
				advise("look at that control plane; if it is lost for good, remove its member too: `etcdctl member remove %x`", m.ID))
		}
		if m.IsLearner {
			out = append(out, warning("member %s of etcd has no vote yet", memberName(m)).why("it was added, and was never promoted").
				advise("complete `slipway join --control-plane` on that host, or remove the member: `etcdctl member remove %x`", m.ID))
		}
	}
	if e.status.Leader == 0 {
		out = append(out, problem("etcd has no leader: nothing in the cluster can be changed").
			why(fmt.Sprintf("%d of %d members with a vote answer; %d are needed", living, voters, voters/2+1)).
			advise("start etcd on more of the control planes"))
	}
	out = append(append(out, e.alarms()...), e.room()...)
	return append(out, ok("%d members (%s), leader %s", len(e.members), strings.Join(e.names(), ", "), cmp.Or(leader, "none")))
}

func memberName(m *etcdserverpb.Member) string { return cmp.Or(m.Name, fmt.Sprintf("%x", m.ID)) }

func (e etcdState) names() []string {
	var out []string
	for _, m := range e.members {
		out = append(out, memberName(m))
	}
	slices.Sort(out)
	return out
}

// alarms are among what a member says is wrong, in any order.
func (e etcdState) alarms() []Finding {
	var out []Finding
	for _, text := range slices.Sorted(slices.Values(e.status.Errors)) {
		switch {
		case strings.Contains(text, "alarm:NOSPACE"):
			out = append(out, problem("etcd has raised the alarm NOSPACE: it takes no writes").why(text).
				advise("compact and defragment it, then disarm: `etcdctl compact`, `etcdctl defrag`, "+
					"`etcdctl alarm disarm`; see https://etcd.io/docs/v3.6/op-guide/maintenance/"))
		case strings.Contains(text, "alarm:CORRUPT"):
			out = append(out, problem("etcd has raised the alarm CORRUPT: the members' data differ").why(text).
				advise("find the member whose data is wrong, and let it join anew: https://etcd.io/docs/v3.6/op-guide/data_corruption/"))
		}
	}
	return out
}

func (e etcdState) room() []Finding {
	quota := cmp.Or(e.status.DbSizeQuota, defaultQuota)
	size := fmt.Sprintf("etcd's database has %d MB of %d MB, %d MB of that in use",
		e.status.DbSize/megabyte, quota/megabyte, e.status.DbSizeInUse/megabyte)
	if e.status.DbSize*100 > quota*nearQuota {
		return []Finding{warning("%s", size).why("when it is full, etcd takes no more writes").
			advise("defragment it with `etcdctl defrag`, and look what fills it")}
	}
	return []Finding{ok("%s", size)}
}
