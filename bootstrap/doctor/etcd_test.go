package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"slipway.dev/slipway/bootstrap/doctor"
	"slipway.dev/slipway/internal/testenv"
)

// freeURL has a port of loopback that nobody listens on.
func freeURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "https://" + l.Addr().String()
}

// member is one of etcd, with the URLs of its own.
type member struct{ name, client, peer string }

func newMember(t *testing.T, name string) member { return member{name, freeURL(t), freeURL(t)} }

func (m member) initial() string { return m.name + "=" + m.peer }

func etcdProgram(t *testing.T) string {
	t.Helper()
	files := root(t.TempDir())
	if err := testenv.NeedBundle(t).Extract("etcd", string(files)); err != nil {
		t.Fatal(err)
	}
	return files.path("/usr/local/bin/etcd")
}

// start runs the bundle's etcd with the certificates of the host.
func (m member) start(t *testing.T, program string, r root, initial string) (*exec.Cmd, <-chan struct{}) {
	t.Helper()
	pki := r.path("/etc/kubernetes/pki/etcd/")
	cmd := exec.Command(program, "--name="+m.name, "--data-dir="+r.path("/etcd-"+m.name), "--listen-client-urls="+m.client,
		"--advertise-client-urls="+m.client, "--listen-peer-urls="+m.peer, "--initial-advertise-peer-urls="+m.peer, "--initial-cluster="+initial,
		"--client-cert-auth", "--trusted-ca-file="+pki+"/ca.crt", "--cert-file="+pki+"/server.crt", "--key-file="+pki+"/server.key",
		"--peer-client-cert-auth", "--peer-trusted-ca-file="+pki+"/ca.crt", "--peer-cert-file="+pki+"/peer.crt", "--peer-key-file="+pki+"/peer.key")
	log, err := os.Create(r.path("/etcd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, runOnOneThread(t, cmd)
}

// wait waits until it knows a leader, or none.
func (m member) wait(t *testing.T, r root, ended <-chan struct{}, leader bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := etcdClient(t, r, m.client)
	for {
		if s, err := c.Status(ctx, m.client); err == nil && (s.Leader != 0) == leader {
			return
		}
		waitMore(ctx, t, "etcd", ended)
	}
}

// manifest is the member's, with an address that is not loopback first.
func (m member) manifest(t *testing.T, r root) {
	t.Helper()
	r.write(t, "/etc/kubernetes/manifests/etcd.yaml", fmt.Sprintf(
		`{metadata: {name: etcd}, spec: {containers: [{name: etcd, command: [etcd, "--listen-client-urls=https://192.0.2.1:2379,%s"]}]}}`, m.client))
}

func etcdClient(t *testing.T, r root, url string) *clientv3.Client {
	t.Helper()
	pki := r.path("/etc/kubernetes/pki")
	info := transport.TLSInfo{
		CertFile: pki + "/apiserver-etcd-client.crt", KeyFile: pki + "/apiserver-etcd-client.key", TrustedCAFile: pki + "/etcd/ca.crt",
	}
	cfg, err := info.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, TLS: cfg, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestEtcd(t *testing.T) {
	r := newNode(t, theCluster("127.0.0.1:1"), controlPlane(), time.Now())
	expect(t, r.examine(t, "etcd"), problem("no manifest"))
	m := newMember(t, "cp")
	m.manifest(t, r)
	expect(t, r.examine(t, "etcd"), problem("does not answer", "majority"))
	_, ended := m.start(t, etcdProgram(t), r, m.initial())
	m.wait(t, r, ended, true)
	c := etcdClient(t, r, m.client)
	room := fine("MB of 2048 MB")
	expect(t, r.examine(t, "etcd"), room, fine("1 members (cp), leader cp"))

	s, err := c.Status(t.Context(), m.client)
	if err != nil {
		t.Fatal(err)
	}
	own := s.Header.MemberId
	for _, alarm := range []etcdserverpb.AlarmType{etcdserverpb.AlarmType_NOSPACE, etcdserverpb.AlarmType_CORRUPT} {
		_, err := etcdserverpb.NewMaintenanceClient(c.ActiveConnection()).Alarm(t.Context(), &etcdserverpb.AlarmRequest{
			Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: own, Alarm: alarm,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	expect(t, r.examine(t, "etcd"), problem("CORRUPT", "data_corruption"), problem("NOSPACE", "etcdctl defrag"), room, fine())

	r.remove(t, "/etc/kubernetes/pki/apiserver-etcd-client.key")
	expect(t, r.examine(t, "etcd"), problem("does not answer", "apiserver-etcd-client.key"))
}

// TestEtcdWithoutItsMajority has a member whose only companion ends.
func TestEtcdWithoutItsMajority(t *testing.T) {
	r := newNode(t, theCluster("127.0.0.1:1"), controlPlane(), time.Now())
	own, lost := newMember(t, "cp"), newMember(t, "lost")
	own.manifest(t, r)
	program, initial := etcdProgram(t), own.initial()+","+lost.initial()
	_, ended := own.start(t, program, r, initial)
	cmd, gone := lost.start(t, program, r, initial)
	own.wait(t, r, ended, true)
	lost.wait(t, r, gone, true) // it has told its name and URLs
	expect(t, r.examine(t, "etcd"), fine(), fine("2 members (cp, lost)"))

	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-gone
	own.wait(t, r, ended, false)
	expect(t, r.examine(t, "etcd"), warned("member lost of etcd does not answer", "etcdctl member remove"),
		problem("no leader", "1 of 2 members with a vote answer; 2 are needed"), fine(), fine("2 members", "leader none"))
}

func TestEtcdMembers(t *testing.T) {
	const mb = 1 << 20
	members := []*etcdserverpb.Member{{ID: 1, Name: "a"}, {ID: 2, Name: "b"}, {ID: 3, Name: "c", IsLearner: true}}
	s := &clientv3.StatusResponse{Leader: 2, DbSize: 90 * mb, DbSizeInUse: 10 * mb, DbSizeQuota: 100 * mb}
	expect(t, doctor.JudgeEtcd(s, members, map[uint64]error{1: errors.New("gone")}), warned("member a", "gone", "etcdctl member remove 1"),
		warned("member c", "no vote", "etcdctl member remove 3"), warned("90 MB of 100 MB", "etcdctl defrag"), fine("3 members (a, b, c), leader b"))
}
