package doctor

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Complete tells whether a check has all that it must have.
func (c Check) Complete() bool {
	return c.Name != "" && c.What != "" && c.Advice != "" && c.run != nil
}

// Examine runs one check on a host.
func (h Host) Examine(ctx context.Context, c Check) ([]Finding, error) {
	var err error
	if h.node, err = h.identify(); err != nil {
		return nil, err
	}
	return c.run(ctx, &h), nil
}

// LookWithin is Look with a time of one's own.
func LookWithin(ctx context.Context, h Host) (*Report, error) {
	var err error
	if h.node, err = h.identify(); err != nil {
		return nil, err
	}
	return h.runAll(ctx, Checks())
}

var Quoted = redact

func JudgeRoom(free, size, freeInodes, inodes uint64, evicts bool) Finding {
	return judgeRoom("/x", room{free: free, size: size, freeInodes: freeInodes, inodes: inodes}, evicts)
}

func JudgeEtcd(s *clientv3.StatusResponse, members []*etcdserverpb.Member, silent map[uint64]error) []Finding {
	return etcdState{s, members, silent}.judge()
}
