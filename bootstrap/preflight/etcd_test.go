package preflight_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/testenv"
)

// etcdServer is the bundle's etcd, with certificates of an authority of its own.
type etcdServer struct {
	url string
	id  etcd.Identity
	dir string
	cmd *exec.Cmd
}

func startEtcd(t *testing.T, program string) *etcdServer {
	t.Helper()
	cas, err := certs.NewAuthorities(certs.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n := certs.Node{Name: "e", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, ControlPlane: true}
	files, err := cas.NodeFiles(certs.Cluster{}, n, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	e := &etcdServer{url: "https://" + freePort(t), dir: t.TempDir()}
	for _, f := range files {
		name, etcds := strings.CutPrefix(f.Path, "pki/etcd/")
		switch {
		case f.Path == "pki/apiserver-etcd-client.crt":
			e.id.Cert = f.Data
		case f.Path == "pki/apiserver-etcd-client.key":
			e.id.Key = f.Data
		case name == "ca.crt":
			e.id.CA = f.Data
		}
		if etcds {
			if err := os.WriteFile(filepath.Join(e.dir, name), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	peer := "http://" + freePort(t)
	e.cmd = exec.Command(program, "--name=e", "--data-dir="+e.dir+"/data", "--listen-client-urls="+e.url, "--advertise-client-urls="+e.url,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=e="+peer, "--client-cert-auth",
		"--trusted-ca-file="+e.dir+"/ca.crt", "--cert-file="+e.dir+"/server.crt", "--key-file="+e.dir+"/server.key")
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.stop)
	return e
}

func (e *etcdServer) stop() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestExternalEtcd asks real ones.
func TestExternalEtcd(t *testing.T) {
	needRoot(t)
	files := t.TempDir()
	if err := testenv.NeedBundle(t).Extract("etcd", files); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(files, "usr/local/bin/etcd")
	e, other := startEtcd(t, program), startEtcd(t, program)
	dead := "https://" + freePort(t)
	facts := func(id etcd.Identity, urls ...string) preflight.Facts {
		return preflight.Facts{ControlPlane: true, ExternalEtcd: &preflight.ExternalEtcd{URLs: urls, Identity: id}}
	}
	var found []preflight.Finding
	for _, s := range []*etcdServer{e, other} {
		deadline := time.Now().Add(time.Minute)
		for found = look(t, "etcd", facts(s.id, s.url)); len(found) > 0 && time.Now().Before(deadline); found = look(t, "etcd", facts(s.id, s.url)) {
			time.Sleep(20 * time.Millisecond)
		}
		expect(t, found)
	}
	expect(t, look(t, "etcd", facts(e.id, e.url, dead)), warned(dead))
	expect(t, look(t, "etcd", facts(e.id, dead)), problem("connection refused"))
	expect(t, look(t, "etcd", facts(other.id, e.url)), problem("unknown authority"))
	stranger := etcd.Identity{CA: e.id.CA, Cert: other.id.Cert, Key: other.id.Key}
	expect(t, look(t, "etcd", facts(stranger, e.url)), problem("tls: "))
	expect(t, look(t, "etcd", facts(etcd.Identity{}, e.url)), problem("cannot be asked"))

	put(t, e, "/registryother", "/registry/namespaces/default")
	f := facts(e.id, e.url)
	expect(t, look(t, "etcd", f), problem(`"/registry/namespaces/default"`))
	f.ExternalEtcd.Used = true
	expect(t, look(t, "etcd", f))
	f.ControlPlane, f.ExternalEtcd.URLs = false, []string{dead}
	expect(t, look(t, "etcd", f)) // workers have nothing to do with it
}

// put runs etcdctl, which lies beside etcd.
func put(t *testing.T, e *etcdServer, keys ...string) {
	t.Helper()
	for name, data := range map[string][]byte{"client.crt": e.id.Cert, "client.key": e.id.Key} {
		if err := os.WriteFile(filepath.Join(e.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range keys {
		ctl := exec.Command(e.cmd.Path+"ctl", "--endpoints="+e.url, "--cacert="+e.dir+"/ca.crt", "--cert="+e.dir+"/client.crt", "--key="+e.dir+"/client.key", "put", key, "x")
		if out, err := ctl.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

func TestJudgeEndpoints(t *testing.T) {
	endpoint := func(url string, cluster uint64, version string, errors ...string) etcd.Endpoint {
		return etcd.Endpoint{URL: url, Status: &clientv3.StatusResponse{
			Header: &etcdserverpb.ResponseHeader{ClusterId: cluster}, Version: version, Errors: errors,
		}}
	}
	well, full := endpoint("https://a:1", 1, "3.6.1"), endpoint("https://a:1", 1, "3.6.1", "memberID:1 alarm:NOSPACE")
	other, old, ancient := endpoint("https://b:1", 2, "3.6.1"), endpoint("https://a:1", 1, "3.5.23"), endpoint("https://a:1", 1, "")
	for _, tt := range []struct {
		all  []etcd.Endpoint
		want []want
	}{
		{[]etcd.Endpoint{well, well}, nil},
		{[]etcd.Endpoint{well, other}, []want{problem("https://a:1 and https://b:1 are of different clusters")}},
		{[]etcd.Endpoint{old}, []want{problem(`version "3.5.23"; Kubernetes needs 3.5.24`)}},
		{[]etcd.Endpoint{ancient}, []want{problem("Kubernetes needs 3.5.24")}},
		{[]etcd.Endpoint{well, full}, []want{problem("alarm:NOSPACE")}},
	} {
		found, answers := preflight.JudgeEndpoints(tt.all)
		if expect(t, found, tt.want...); !answers {
			t.Errorf("%+v do not answer", tt.all)
		}
	}
}

func TestExternalEtcdNeedsNothingHere(t *testing.T) {
	f := preflight.Facts{ControlPlane: true, ExternalEtcd: &preflight.ExternalEtcd{}, EtcdDir: "/proc"}
	expect(t, look(t, "etcd-disk", f))
	f.Root = tree{"var/lib/etcd/member/": "", "var/lib/k0s/": ""}.make(t)
	expect(t, look(t, "leftovers", f), problem(": /var/lib/k0s"))
	all, without := preflight.Ports(true), preflight.WithoutEtcd(preflight.Ports(true))
	if len(all)-len(without) != 3 {
		t.Errorf("etcd has %d ports of %d", len(all)-len(without), len(all))
	}
	for _, p := range without {
		if strings.Contains(p.What, "etcd") {
			t.Errorf("%v is etcd's", p)
		}
	}
}
