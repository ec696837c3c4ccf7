package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"slipway.dev/slipway/certs"
)

func renew(t *testing.T, host tree, n certs.Node, names ...string) tree {
	t.Helper()
	files, err := host.load(t).Renew(cluster(), n, names, host.read, now())
	if err != nil {
		t.Fatal(err)
	}
	return treeOf(files)
}

// client gives what the current user of a kubeconfig shows.
func client(t *testing.T, kubeconfig []byte) (config *api.Config, cert *x509.Certificate) {
	t.Helper()
	config, err := clientcmd.Load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	user := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo]
	pair, err := tls.X509KeyPair(user.ClientCertificateData, user.ClientKeyData)
	if err != nil {
		t.Fatal(err)
	}
	return config, pair.Leaf
}

func pemBlock(data []byte) []byte {
	block, _ := pem.Decode(data)
	return pem.EncodeToMemory(block)
}

func copyPair(f tree, to, from string) {
	f[to+".crt"], f[to+".key"] = f[from+".crt"], f[from+".key"]
}

func withKey(t *testing.T, kubeconfig, key []byte) []byte {
	t.Helper()
	config, err := clientcmd.Load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo].ClientKeyData = key
	data, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func paths(f tree) []string { return slices.Sorted(maps.Keys(f)) }

func TestRenewKubeadmsHost(t *testing.T) {
	host, _ := kubeadmHost(t)
	renewed := renew(t, host, controlPlane())
	keys := map[string]bool{}
	var want []string
	for _, e := range certs.Table() {
		if e.Form == certs.Rotated {
			continue
		}
		var before, after *x509.Certificate
		if e.Form == certs.Kubeconfig {
			want = append(want, e.Path)
			var was, is *api.Config
			was, before = client(t, host[e.Path])
			is, after = client(t, renewed[e.Path])
			checkOnlyIdentityChanged(t, was, is)
		} else {
			want = append(want, e.Path+".crt", e.Path+".key")
			before, after = host.leaf(t, e.Path+".crt"), renewed.leaf(t, e.Path+".crt")
			if _, err := tls.X509KeyPair(renewed[e.Path+".crt"], renewed[e.Path+".key"]); err != nil {
				t.Errorf("%s: %v", e.Name, err)
			}
		}
		if !after.NotAfter.Equal(now().Add(year-5*time.Minute)) || after.SerialNumber.Cmp(before.SerialNumber) == 0 {
			t.Errorf("%s ends %v", e.Name, after.NotAfter)
		}
		keys[string(before.RawSubjectPublicKeyInfo)], keys[string(after.RawSubjectPublicKeyInfo)] = true, true
		subject := before.Subject.String()
		if e.Name == "kubelet-serving" { // was signed by nobody
			subject = "CN=system:node:dev-cp-1,O=system:nodes"
		}
		if after.Subject.String() != subject {
			t.Errorf("%s is now %q, was %q", e.Name, after.Subject, before.Subject)
		}
		checkHosts(t, e, before, after)
		for usage, wanted := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageServerAuth: e.Server, x509.ExtKeyUsageClientAuth: e.Client} {
			if err := verify(after, host["pki/"+e.Authority+".crt"], usage); (err == nil) != wanted {
				t.Errorf("%s, usage %v: %v", e.Name, usage, err)
			}
		}
	}
	slices.Sort(want)
	if !slices.Equal(paths(renewed), want) {
		t.Errorf("renewed %q, want %q", paths(renewed), want)
	}
	if made := len(certs.Table()) - 1; len(keys) != made+1 { // the fixture has one for all
		t.Errorf("%d keys for %d certificates", len(keys)-1, made)
	}
	maps.Copy(host, renewed)
	if got := findings(checkHost(t, host.write(t), controlPlane(), now())); len(got) != 0 {
		t.Errorf("afterwards found %q", got)
	}
}

func checkOnlyIdentityChanged(t *testing.T, was, is *api.Config) {
	t.Helper()
	for _, c := range []*api.Config{was, is} {
		user := c.AuthInfos[c.Contexts[c.CurrentContext].AuthInfo]
		user.ClientCertificateData, user.ClientKeyData = nil, nil
	}
	a, _ := clientcmd.Write(*was)
	b, _ := clientcmd.Write(*is)
	if !bytes.Equal(a, b) {
		t.Errorf("the kubeconfig was\n%s\nand is\n%s", a, b)
	}
}

func checkHosts(t *testing.T, e certs.Entry, before, after *x509.Certificate) {
	t.Helper()
	hosts := slices.Clone(before.DNSNames)
	for _, ip := range before.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	if e.Hosts != nil {
		hosts = append(hosts, e.Hosts(cluster(), controlPlane())...)
	}
	for _, host := range hosts {
		if err := after.VerifyHostname(host); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
	distinct := map[string]bool{}
	for _, host := range hosts {
		distinct[host] = true
	}
	if got := len(after.DNSNames) + len(after.IPAddresses); got != len(distinct) {
		t.Errorf("%s has %d names and addresses, want %d", e.Name, got, len(distinct))
	}
}

func TestRenewKeepsWhatAnAdministratorAdded(t *testing.T) {
	host, cas := kubeadmHost(t)
	l := kubeadmLeaves()[0]
	l.hosts = append(l.hosts, "*.wild.example", "2001:db8::77")
	c := l.template()
	c.Subject.Organization, c.Subject.OrganizationalUnit = []string{"one", "two"}, []string{"unit"}
	c.Subject.Country, c.Subject.SerialNumber = []string{"NL"}, "77"
	c.EmailAddresses = []string{"admin@example.org"}
	c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/api"}}
	host.putPair(l.path, make509(t, c, rsaKey("leaf", 2048), cas["pki/ca"]))
	before, after := host.leaf(t, "pki/apiserver.crt"), renew(t, host, controlPlane(), "apiserver").leaf(t, "pki/apiserver.crt")
	if !bytes.Equal(before.RawSubject, after.RawSubject) {
		t.Errorf("subject %q, was %q", after.Subject, before.Subject)
	}
	if !slices.Equal(after.EmailAddresses, c.EmailAddresses) || len(after.URIs) != 1 || after.URIs[0].String() != c.URIs[0].String() {
		t.Errorf("kept %q and %v", after.EmailAddresses, after.URIs)
	}
	if !slices.Contains(after.DNSNames, "*.wild.example") || !slices.ContainsFunc(after.IPAddresses, net.ParseIP("2001:db8::77").Equal) {
		t.Errorf("kept %q and %v", after.DNSNames, after.IPAddresses)
	}
}

// TestRenewTrustsNoStrangersSubject: who a certificate of another authority speaks for, this one has never said.
func TestRenewTrustsNoStrangersSubject(t *testing.T) {
	host, _ := kubeadmHost(t)
	other := make509(t, authorityTemplate("kubernetes"), rsaKey("other", 2048), nil)
	evil := leaf{cn: "anybody", org: "system:masters", client: true}
	strange := make509(t, evil.template(), rsaKey("leaf", 2048), &other)
	for name, chain := range map[string][]byte{
		"alone": nil, "before one of the cluster's": host["pki/apiserver.crt"], "before the cluster's authority": host["pki/ca.crt"],
	} {
		t.Run(name, func(t *testing.T) {
			host["pki/apiserver-kubelet-client.crt"] = slicesOf(strange.certPEM(), chain)
			got := renew(t, host, controlPlane(), "apiserver-kubelet-client").leaf(t, "pki/apiserver-kubelet-client.crt").Subject.String()
			if got != "CN=kube-apiserver-kubelet-client,O=kubeadm:cluster-admins" {
				t.Errorf("subject %q", got)
			}
		})
	}
}

func TestRenewByName(t *testing.T) {
	full, _ := kubeadmHost(t)
	pairOf := func(base string) []string { return []string{base + ".crt", base + ".key"} }
	for name, tt := range map[string]struct {
		change func(tree)
		node   certs.Node
		names  []string
		want   []string
	}{
		"one":                     {nil, controlPlane(), []string{"etcd-peer"}, pairOf("pki/etcd/peer")},
		"two, one of them twice":  {nil, controlPlane(), []string{"scheduler.conf", "front-proxy-client", "scheduler.conf"}, append(pairOf("pki/front-proxy-client"), "scheduler.conf")},
		"one that is not there":   {func(f tree) { delete(f, "pki/etcd/peer.crt") }, controlPlane(), []string{"etcd-peer"}, pairOf("pki/etcd/peer")},
		"a kubeconfig not there":  {func(f tree) { delete(f, "admin.conf") }, controlPlane(), []string{"admin.conf"}, []string{"admin.conf"}},
		"one without its key":     {func(f tree) { delete(f, "pki/etcd/peer.key") }, controlPlane(), []string{"etcd-peer"}, pairOf("pki/etcd/peer")},
		"all that a worker has":   {nil, worker(), nil, pairOf(certs.KubeletPKI + "/kubelet")},
		"a worker's":              {nil, worker(), []string{"kubelet-serving"}, pairOf(certs.KubeletPKI + "/kubelet")},
		"all, with most not here": {func(f tree) { onlyKeep(f, "pki/apiserver.", "scheduler.conf") }, controlPlane(), []string{}, append(pairOf("pki/apiserver"), "scheduler.conf")},
		"all, a kubeconfig without": {func(f tree) {
			onlyKeep(f, "pki/apiserver.")
			f["admin.conf"] = embed(t, "admin", nil, &api.AuthInfo{Token: "x"})
		}, controlPlane(), nil, pairOf("pki/apiserver")},
	} {
		t.Run(name, func(t *testing.T) {
			host := maps.Clone(full)
			if tt.change != nil {
				tt.change(host)
			}
			if got := paths(renew(t, host, tt.node, tt.names...)); !slices.Equal(got, tt.want) {
				t.Errorf("renewed %q, want %q", got, tt.want)
			}
		})
	}
}

// onlyKeep takes away all leaves but those that begin with one of the prefixes.
func onlyKeep(f tree, prefixes ...string) {
	maps.DeleteFunc(f, func(path string, _ []byte) bool {
		kept := strings.Contains(path, "ca.") || strings.HasPrefix(path, "pki/sa.")
		return !kept && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) })
	})
}

func TestRenewedModes(t *testing.T) {
	host, _ := kubeadmHost(t)
	files, err := host.load(t).Renew(cluster(), controlPlane(), []string{"etcd-peer", "admin.conf"}, host.read, now())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if (f.Mode == 0o644) != strings.HasSuffix(f.Path, ".crt") || f.Mode != 0o644 && f.Mode != 0o600 {
			t.Errorf("%s has mode %o", f.Path, f.Mode)
		}
	}
}

func TestRenewFaults(t *testing.T) {
	full, _ := kubeadmHost(t)
	for name, tt := range map[string]struct {
		change func(tree)
		node   certs.Node
		names  []string
		id     string
		want   []string
	}{
		"unknown":               {nil, controlPlane(), []string{"apiserver", "kubelet", "scheduler"}, "certificate-unknown", []string{`"kubelet": node "dev-cp-1" can renew apiserver, kubelet-serving, etcd-server`, `"scheduler"`}},
		"the kubelet's own":     {nil, controlPlane(), []string{"kubelet-client"}, "certificate-unknown", []string{"kubelet-client"}},
		"not on a worker":       {nil, worker(), []string{"apiserver"}, "certificate-unknown", []string{`node "dev-worker-1" can renew kubelet-serving`}},
		"an authority":          {nil, controlPlane(), []string{"ca"}, "certificate-unknown", []string{`"ca"`}},
		"not PEM":               {func(f tree) { f["pki/apiserver.crt"] = nil; f["admin.conf"] = []byte("{") }, controlPlane(), nil, "certificate-invalid", []string{`"apiserver"`, `"admin.conf"`}},
		"a token, asked for":    {func(f tree) { f["admin.conf"] = embed(t, "admin", nil, &api.AuthInfo{Token: "x"}) }, controlPlane(), []string{"admin.conf"}, "certificate-invalid", []string{"no client certificate"}},
		"the authority is gone": {func(f tree) { delete(f, "pki/front-proxy-ca.crt"); delete(f, "pki/front-proxy-ca.key") }, controlPlane(), nil, "authority-missing", []string{`"front-proxy-client": there is no authority "pki/front-proxy-ca.crt"`}},
	} {
		t.Run(name, func(t *testing.T) {
			host := maps.Clone(full)
			if tt.change != nil {
				tt.change(host)
			}
			files, err := host.load(t).Renew(cluster(), tt.node, tt.names, host.read, now())
			if files != nil {
				t.Error("gave files")
			}
			checkFaults(t, err, tt.id, tt.want...)
		})
	}
}

func TestRenewTellsWhatItCannotRead(t *testing.T) {
	host, _ := kubeadmHost(t)
	_, err := host.load(t).Renew(cluster(), controlPlane(), []string{"etcd-peer"}, func(string) ([]byte, error) {
		return nil, errors.New("input/output error")
	}, now())
	checkFaults(t, err, "certificate-invalid", "input/output error")
}
