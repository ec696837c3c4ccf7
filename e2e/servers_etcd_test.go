package e2e_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/testenv"
)

const externalConfig = `apiVersion: slipway.dev/v1alpha1
kind: InitConfiguration
bundle: /media/bundle
uploadCerts: true
controlPlaneEndpoint: api.test
podCIDR: 10.32.0.0/16
serviceCIDR: 10.33.0.0/16
skip: [coredns]
etcd:
  external:
    endpoints: [%s]
    caFile: /root/etcd/ca.crt
    certFile: /root/etcd/client.crt
    keyFile: /root/etcd/client.key
`

// externalUnit is etcd as an administrator would run it, of one member.
const externalUnit = `[Service]
Type=notify
ExecStart=/media/share/etcd/usr/local/bin/etcd --name=theirs --data-dir=/var/lib/theirs --listen-client-urls=URL --advertise-client-urls=URL \
  --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 --initial-cluster=theirs=http://127.0.0.1:2380 \
  --client-cert-auth --trusted-ca-file=/media/share/etcd/ca.crt --cert-file=/media/share/etcd/server.crt --key-file=/media/share/etcd/server.key
`

// external is the etcd on the third server.
type external struct {
	group
	url string
}

// ctl asks it on its own server.
func (e external) ctl(t *testing.T, args string) string {
	t.Helper()
	return e.must(t, 3, "/media/share/etcd/usr/local/bin/etcdctl --endpoints "+e.url+
		" --cacert /media/share/etcd/ca.crt --cert /media/share/etcd/client.crt --key /media/share/etcd/client.key "+args)
}

// TestServersExternalEtcd makes a cluster of two control planes with an etcd that is somebody else's, and takes it apart: etcd
// stays.
func TestServersExternalEtcd(t *testing.T) {
	need(t)
	before := takeInventory(t)
	e := external{group: launchMachines(t, "ext", 3)}
	e.begin(t)
	for i := 1; i <= 2; i++ {
		e.must(t, i, fmt.Sprintf("echo '%s api.test' >> /etc/hosts", e.address(t, 1)))
	}
	hosts := map[int][]string{1: e.inventory(t, 1), 2: e.inventory(t, 2)}
	for _, step := range []struct {
		name  string
		run   func(*testing.T)
		fatal bool
	}{
		{"refused", func(t *testing.T) { e.checkRefused(t, hosts[1]) }, false},
		{"init and join", e.checkUp, true},
		{"nothing of etcd on the control planes", e.checkElsewhere, false},
		{"certificates", e.checkCertificates, false},
		{"status", e.checkStatus, false},
		{"reset", func(t *testing.T) { e.checkReset(t, hosts) }, false},
	} {
		if !t.Run(step.name, step.run) && step.fatal {
			t.FailNow()
		}
	}
	slipway(t, "down", e.name)
	before.compare(t, takeInventory(t))
}

// begin starts etcd on the third server, with certificates of an authority of its own, and gives the first server those of a
// client.
func (e *external) begin(t *testing.T) {
	dir := filepath.Join(e.share, "etcd")
	if err := testenv.NeedBundle(t).Extract("etcd", dir); err != nil {
		t.Fatal(err)
	}
	address := strings.Fields(e.must(t, 3, "hostname -I"))[0]
	e.url = "https://" + address + ":2379"
	cas, err := certs.NewAuthorities(certs.RSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n := certs.Node{Name: "theirs", Addresses: []netip.Addr{netip.MustParseAddr(address)}, ControlPlane: true}
	files, err := cas.NodeFiles(certs.Cluster{}, n, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("pki/etcd/", "", "pki/apiserver-etcd-client", "client")
	for _, f := range files {
		if strings.Contains(f.Path, "etcd") {
			e.put(t, "etcd/"+names.Replace(f.Path), f.Data)
		}
	}
	e.put(t, "etcd/etcd.service", []byte(strings.ReplaceAll(externalUnit, "URL", e.url)))
	e.must(t, 3, "cp /media/share/etcd/etcd.service /etc/systemd/system/ && systemctl start etcd")
	e.must(t, 1, "mkdir /root/etcd && cp /media/share/etcd/*.crt /media/share/etcd/client.key /root/etcd/ && chmod 600 /root/etcd/client.key")
	e.put(t, "init.yaml", fmt.Appendf(nil, externalConfig, e.url))
}

// put writes a file that all servers see.
func (g group) put(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.share, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

const externalInit = "slipway init --config /media/share/init.yaml"

// checkRefused: what cannot work is found out before anything is written.
func (e external) checkRefused(t *testing.T, host []string) {
	e.put(t, "bad.yaml", fmt.Appendf(nil, externalConfig, "http://192.0.2.1:2379"))
	e.must(t, 1, "chmod 644 /root/etcd/client.key")
	e.fails(t, 1, "slipway init --config /media/share/bad.yaml", "external-etcd-invalid", "external-etcd-invalid")
	e.must(t, 1, "chmod 600 /root/etcd/client.key")
	e.put(t, "bad.yaml", fmt.Appendf(nil, externalConfig, strings.Replace(e.url, "2379", "2378", 1)))
	e.fails(t, 1, "slipway init --config /media/share/bad.yaml", "preflight-etcd")
	e.ctl(t, "put /registry/namespaces/theirs x")
	e.fails(t, 1, externalInit, "preflight-etcd")
	e.ctl(t, "del --prefix /registry/")
	e.sameHost(t, 1, host)
}

func (e external) checkUp(t *testing.T) {
	begin := time.Now()
	e.must(t, 1, externalInit)
	t.Logf("init took %.1f s", time.Since(begin).Seconds())
	begin = time.Now()
	join := readJoin(t, e.group).controlPlane
	if !strings.HasPrefix(join, "slipway join api.test:6443 ") {
		t.Errorf("the command to join with is %q", join)
	}
	e.must(t, 2, join)
	t.Logf("join took %.1f s", time.Since(begin).Seconds())
	checkServers(t, e.group, 2)
	e.checkAsked(t)
}

// checkAsked: the cluster has the ranges that were asked for, and not the step that was skipped.
func (e external) checkAsked(t *testing.T) {
	if out := e.kubectl(t, 1, "get service kubernetes -o jsonpath={.spec.clusterIP}"); out != "10.33.0.1" {
		t.Errorf("the service has %s", out)
	}
	if out := e.kubectl(t, 1, "-n kube-system get pods -l k8s-app=calico-kube-controllers -o jsonpath={.items[0].status.podIP}"); !strings.HasPrefix(out, "10.32.") {
		t.Errorf("a pod has %s", out)
	}
	if out := e.kubectl(t, 1, "-n kube-system get deployments -o name"); strings.Contains(out, "coredns") {
		t.Errorf("there are %s", out)
	}
}

// checkElsewhere: what one API server is told is in that etcd, and the other knows it.
func (e external) checkElsewhere(t *testing.T) {
	if out := e.kubectl(t, 1, "get pods -A -o name"); strings.Contains(out, "pod/etcd") {
		t.Errorf("pods: %s", out)
	}
	const local = " --server https://127.0.0.1:6443 "
	e.kubectl(t, 1, local+"create secret generic password --from-literal=word="+plain)
	if out := e.kubectl(t, 2, local+"get secret password -o name"); out != "secret/password\n" {
		t.Errorf("the other API server says %q", out)
	}
	out := e.ctl(t, "get /registry/secrets/default/password")
	if !strings.HasPrefix(out, "/registry/secrets/default/password\nk8s:enc:") || strings.Contains(out, plain) {
		t.Errorf("etcd has %q", out)
	}
	for i := 1; i <= 2; i++ {
		if out := e.must(t, i, "ls -A /var/lib/etcd; ls -d /etc/kubernetes/manifests/etcd.yaml 2>/dev/null; ls /etc/kubernetes/pki/etcd; "+
			"pgrep -x etcd; stat -c %a /etc/kubernetes/pki/apiserver-etcd-client.key"); out != "ca.crt\n600\n" {
			t.Errorf("%s has %q", e.machine(i), out)
		}
	}
}

// checkCertificates: that of etcd's client is looked at, and left alone. Kubeadm reads from the cluster that etcd is external.
func (e external) checkCertificates(t *testing.T) {
	if err := testenv.NeedBundle(t).Extract("kubeadm", filepath.Join(e.share, "tools")); err != nil {
		t.Fatal(err)
	}
	r := e.on(t, 1, "/media/share/tools/usr/local/bin/kubeadm certs check-expiration")
	if r.code != 0 || !strings.Contains(r.stdout, "apiserver-kubelet-client") || strings.Contains(r.stdout+r.stderr, "etcd") || strings.Contains(r.stdout, "MISSING") {
		t.Errorf("kubeadm thinks otherwise: %v", r)
	}
	for i := 1; i <= 2; i++ {
		if out := e.must(t, i, "slipway certs check"); !regexp.MustCompile(`(?m)^apiserver-etcd-client .* external +-$`).MatchString(out) {
			t.Errorf("%s: %s", e.machine(i), out)
		}
	}
	const sums = "cd /etc/kubernetes/pki && sha256sum apiserver.crt apiserver-etcd-client.crt apiserver-etcd-client.key etcd/ca.crt"
	before := strings.SplitAfter(e.must(t, 2, sums), "\n")
	if out := e.must(t, 2, "slipway certs renew all"); !strings.Contains(out, "apiserver-etcd-client: left alone") {
		t.Errorf("renew says %s", out)
	}
	e.fails(t, 2, "slipway certs renew apiserver-etcd-client", "certificate-external")
	after := e.must(t, 2, sums)
	for i, line := range before {
		if strings.Contains(after, line) == (i == 0) {
			t.Errorf("before the renewal %s, after it %s", line, after)
		}
	}
	checkServers(t, e.group, 2)
}

// checkStatus: an etcd that does not answer is found, and named.
func (e external) checkStatus(t *testing.T) {
	for i := 1; i <= 2; i++ {
		e.must(t, i, "slipway status")
		if out := e.must(t, i, "slipway doctor"); !strings.Contains(out, "is external, and answers at 1 of 1 URLs ("+e.url+")") {
			t.Errorf("%s: %s", e.machine(i), out)
		}
	}
	e.must(t, 3, "systemctl stop etcd")
	if r := e.on(t, 1, "slipway status"); r.code != 1 || !strings.Contains(r.stdout, "the external etcd does not answer at "+e.url) {
		t.Errorf("without etcd: %v", r)
	}
	e.must(t, 3, "systemctl start etcd")
	checkServers(t, e.group, 2)
}

// checkReset: the servers are as they were, and etcd still has all of it.
func (e external) checkReset(t *testing.T, hosts map[int][]string) {
	e.must(t, 2, "slipway reset")
	e.sameHost(t, 2, hosts[2], auditLog)
	checkServers(t, e.group, 1)
	if r := e.on(t, 1, "slipway reset"); r.code != 0 || !strings.Contains(r.stderr, "del --prefix /registry/") {
		t.Errorf("reset of the last one: %v", r)
	}
	e.sameHost(t, 1, hosts[1], auditLog)
	if out := e.ctl(t, "get --keys-only /registry/secrets/default/password"); !strings.Contains(out, "/registry/secrets/default/password") {
		t.Errorf("etcd has %q", out)
	}
	if out := e.ctl(t, "member list"); strings.Count(out, "started") != 1 {
		t.Errorf("members: %s", out)
	}
}
