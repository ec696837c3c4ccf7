package certs_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd/api"

	"slipway.dev/slipway/certs"
)

func checkHost(t *testing.T, root string, n certs.Node, when time.Time) []certs.Status {
	t.Helper()
	list, err := certs.Check(root, cluster(), n, when)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// findings are "NAME KIND", in order.
func findings(list []certs.Status) []string {
	var out []string
	for _, s := range list {
		for _, f := range s.Findings {
			out = append(out, s.Name+" "+string(f.Kind))
			if f.Detail == "" {
				out = append(out, "which has no detail")
			}
		}
	}
	return out
}

func TestCheckOfAWholeHost(t *testing.T) {
	for name, tt := range map[string]struct {
		node  certs.Node
		names []string
	}{
		"control plane": {controlPlane(), []string{"ca", "etcd/ca", "front-proxy-ca", "apiserver", "kubelet-serving", "etcd-server", "etcd-peer",
			"apiserver-kubelet-client", "apiserver-etcd-client", "etcd-healthcheck-client", "front-proxy-client", "kubelet-client",
			"admin.conf", "super-admin.conf", "controller-manager.conf", "scheduler.conf"}},
		"worker": {worker(), []string{"ca", "kubelet-serving", "kubelet-client"}},
	} {
		t.Run(name, func(t *testing.T) {
			host := treeOf(nodeFiles(t, certs.ECDSA, tt.node))
			list := checkHost(t, host.write(t), tt.node, now())
			var names []string
			for _, s := range list {
				names = append(names, s.Name)
				lifetime, wantCA := year, s.Authority == ""
				if wantCA {
					lifetime *= 10
				}
				if want := now().Add(lifetime - 5*time.Minute); !s.NotAfter.Equal(want) || s.Remaining != want.Sub(now()) {
					t.Errorf("%s ends %v, in %v", s.Name, s.NotAfter, s.Remaining)
				}
				if !strings.HasPrefix(s.Path, "/etc/kubernetes/") && !strings.HasPrefix(s.Path, certs.KubeletPKI) || s.Subject == "" {
					t.Errorf("%s lies at %q, subject %q", s.Name, s.Path, s.Subject)
				}
			}
			if !slices.Equal(names, tt.names) {
				t.Errorf("got %q, want %q", names, tt.names)
			}
			if got := findings(list); len(got) != 0 {
				t.Errorf("found %q", got)
			}
		})
	}
}

func TestCheckOfAnEmptyHost(t *testing.T) {
	if list := checkHost(t, t.TempDir(), controlPlane(), now()); len(list) != 0 {
		t.Errorf("got %v", list)
	}
}

// TestCheckOfKubeadmsHost: kubeadm does not issue loopback, and its kubelet signs for itself.
func TestCheckOfKubeadmsHost(t *testing.T) {
	host, _ := kubeadmHost(t)
	list := checkHost(t, host.write(t), controlPlane(), now())
	want := []string{"apiserver hosts-missing", "kubelet-serving other-authority", "kubelet-serving hosts-missing",
		"etcd-server hosts-missing", "etcd-peer hosts-missing"}
	if got := findings(list); !slices.Equal(got, want) {
		t.Errorf("found %q", got)
	}
	i := slices.IndexFunc(list, func(s certs.Status) bool { return s.Name == "apiserver" })
	const missing = "2001:db8::2, api.dev.example, localhost, 127.0.0.1, ::1, dev.example, 192.0.2.7"
	if got := list[i].Findings[0].Detail; got != missing {
		t.Errorf("missing %q, want %q", got, missing)
	}
	if got := findings(checkHost(t, host.write(t), certs.Node{}, now())); !slices.Equal(got, []string{"kubelet-serving other-authority"}) {
		t.Errorf("without a node: found %q", got)
	}
}

func TestCheckFinds(t *testing.T) {
	made := nodeFiles(t, certs.ECDSA, controlPlane())
	strange := treeOf(nodeFiles(t, certs.ECDSA, controlPlane()))
	ca := make509(t, authorityTemplate("kubernetes"), rsaKey("kubernetes", 2048), nil)
	for name, tt := range map[string]struct {
		change func(tree)
		modes  map[string]fs.FileMode
		after  time.Duration
		want   []string
	}{
		"an authority that is not PEM": {change: func(f tree) { f["pki/front-proxy-ca.crt"] = []byte("hello") },
			want: []string{"front-proxy-ca unreadable", "front-proxy-client other-authority"}},
		"another authority": {change: func(f tree) {
			f["pki/etcd/ca.crt"], f["pki/etcd/ca.key"] = strange["pki/etcd/ca.crt"], strange["pki/etcd/ca.key"]
		},
			want: []string{"etcd-server other-authority", "etcd-peer other-authority", "apiserver-etcd-client other-authority", "etcd-healthcheck-client other-authority"}},
		"no authority": {change: func(f tree) { delete(f, "pki/front-proxy-ca.crt"); delete(f, "pki/front-proxy-ca.key") },
			want: []string{"front-proxy-client other-authority"}},
		"old and new authority": {change: func(f tree) { f["pki/etcd/ca.crt"] = slicesOf(f["pki/etcd/ca.crt"], strange["pki/etcd/ca.crt"]) }},
		"new and old authority": {change: func(f tree) {
			f["pki/etcd/ca.crt"], f["pki/etcd/ca.key"] = slicesOf(strange["pki/etcd/ca.crt"], f["pki/etcd/ca.crt"]), strange["pki/etcd/ca.key"]
		}},
		"an authority's key is another's": {change: func(f tree) { f["pki/ca.key"] = f["pki/etcd/ca.key"] }, want: []string{"ca key-mismatch"}},
		"an authority without its key":    {change: func(f tree) { delete(f, "pki/ca.key") }},
		"a leaf as authority": {change: func(f tree) {
			f["pki/front-proxy-ca.crt"], f["pki/front-proxy-ca.key"] = f["pki/front-proxy-client.crt"], f["pki/front-proxy-client.key"]
		}, want: []string{"front-proxy-ca no-authority", "front-proxy-client other-authority"}},
		"a certificate that is not PEM":  {change: func(f tree) { f["pki/apiserver.crt"] = []byte{} }, want: []string{"apiserver unreadable"}},
		"a kubeconfig that is none":      {change: func(f tree) { f["admin.conf"] = []byte("{") }, want: []string{"admin.conf unreadable"}},
		"a kubeconfig with a token":      {change: func(f tree) { f["admin.conf"] = embed(t, "admin", f["pki/ca.crt"], &api.AuthInfo{Token: "x"}) }},
		"a kubeconfig with another key":  {change: func(f tree) { f["admin.conf"] = withKey(t, f["admin.conf"], f["pki/apiserver.key"]) }, want: []string{"admin.conf key-mismatch"}},
		"a kubelet with another key":     {change: func(f tree) { f[kubeletLink] = slicesOf(pemBlock(f[kubeletLink]), f["pki/apiserver.key"]) }, want: []string{"kubelet-client key-mismatch"}},
		"another certificate's key":      {change: func(f tree) { f["pki/etcd/peer.key"] = f["pki/etcd/server.key"] }, want: []string{"etcd-peer key-mismatch"}},
		"a key that is none":             {change: func(f tree) { f["pki/etcd/peer.key"] = nil }, want: []string{"etcd-peer key-mismatch"}},
		"no key":                         {change: func(f tree) { delete(f, "pki/apiserver.key") }, want: []string{"apiserver key-missing"}},
		"another cluster's certificate":  {change: func(f tree) { f["admin.conf"] = strange["admin.conf"] }, want: []string{"admin.conf other-authority"}},
		"a client's for a server":        {change: func(f tree) { copyPair(f, "pki/etcd/server", "pki/etcd/healthcheck-client") }, want: []string{"etcd-server hosts-missing", "etcd-server wrong-usage"}},
		"a server's for a client":        {change: func(f tree) { copyPair(f, "pki/apiserver-kubelet-client", "pki/apiserver") }, want: []string{"apiserver-kubelet-client wrong-usage"}},
		"a key that all may read":        {modes: map[string]fs.FileMode{"pki/etcd/peer.key": 0o644}, want: []string{"etcd-peer key-exposed"}},
		"a key that a group may read":    {modes: map[string]fs.FileMode{"pki/ca.key": 0o640}, want: []string{"ca key-exposed"}},
		"a kubeconfig that all may read": {modes: map[string]fs.FileMode{"scheduler.conf": 0o604}, want: []string{"scheduler.conf key-exposed"}},
		"the kubelet's, by its link":     {modes: map[string]fs.FileMode{kubeletDated: 0o644}, want: []string{"kubelet-client key-exposed"}},
		"a key that only can be read":    {modes: map[string]fs.FileMode{"pki/ca.key": 0o400}},
		"an intermediate in the file": {change: func(f tree) {
			mid := make509(t, authorityTemplate("between"), rsaKey("leaf", 2048), &ca)
			f.putPair("pki/front-proxy-ca", ca)
			l := kubeadmLeaves()[6]
			s := make509(t, l.template(), rsaKey("leaf", 2048), &mid)
			f.putPair(l.path, s)
			f[l.path+".crt"] = slicesOf(s.certPEM(), mid.certPEM())
		}},
		"31 days before the end": {after: year - 31*24*time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			host := treeOf(made)
			if tt.change != nil {
				tt.change(host)
			}
			root := host.write(t)
			for path, mode := range tt.modes {
				if err := os.Chmod(filepath.Join(root, hostPath(path)), mode); err != nil {
					t.Fatal(err)
				}
			}
			if got := findings(checkHost(t, root, controlPlane(), now().Add(tt.after))); !slices.Equal(got, tt.want) {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCheckOfDates(t *testing.T) {
	root := treeOf(nodeFiles(t, certs.ECDSA, worker())).write(t)
	for name, tt := range map[string]struct {
		after  time.Duration
		leaves certs.FindingKind
		ca     certs.FindingKind
	}{
		"an hour before the beginning": {-time.Hour, certs.NotYetValid, certs.NotYetValid},
		"29 days before the end":       {year - 29*24*time.Hour, certs.ExpiresSoon, ""},
		"a day after the end":          {year + 24*time.Hour, certs.Expired, ""},
		"the authority's last days":    {10*year - 24*time.Hour, certs.Expired, certs.ExpiresSoon},
		"after the authority's end":    {11 * year, certs.Expired, certs.Expired},
	} {
		t.Run(name, func(t *testing.T) {
			want := []string{"kubelet-serving " + string(tt.leaves), "kubelet-client " + string(tt.leaves)}
			if tt.ca != "" {
				want = append([]string{"ca " + string(tt.ca)}, want...)
			}
			list := checkHost(t, root, worker(), now().Add(tt.after))
			if got := findings(list); !slices.Equal(got, want) {
				t.Errorf("found %q, want %q", got, want)
			}
			if (list[1].Remaining < 0) != (tt.leaves == certs.Expired) {
				t.Errorf("remaining %v", list[1].Remaining)
			}
		})
	}
}

func TestCheckTellsWhatItCannotRead(t *testing.T) {
	host := treeOf(nodeFiles(t, certs.ECDSA, controlPlane()))
	delete(host, "pki/apiserver.crt")
	delete(host, "admin.conf")
	root := host.write(t)
	for _, path := range []string{"pki/apiserver.crt", "admin.conf"} {
		if err := os.Mkdir(filepath.Join(root, hostPath(path)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	list, err := certs.Check(root, cluster(), controlPlane(), now())
	var failed *fs.PathError
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), `"apiserver"`) || !strings.Contains(err.Error(), `"admin.conf"`) {
		t.Errorf("got %v", err)
	}
	if len(list) != 14 {
		t.Errorf("%d others were checked", len(list))
	}
}

func TestStatusForPrograms(t *testing.T) {
	root := treeOf(nodeFiles(t, certs.ECDSA, worker())).write(t)
	data, err := json.Marshal(checkHost(t, root, worker(), now().Add(2*year)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name":"kubelet-serving"`, `"path":"` + kubeletCert + `"`, `"notAfter":"2027-`, `"authority":"ca"`, `"kind":"expired"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s has no %s", data, want)
		}
	}
}
