package approver_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"slipway.dev/slipway/bootstrap/approver"
)

// cluster is what a request is judged by.
type cluster struct {
	nodes []*corev1.Node
	api   *corev1.Service
}

type judgement struct {
	ask     func(*asking)                                   // what is asked for
	as      func(*certificatesv1.CertificateSigningRequest) // what the API server says of it
	in      func(*cluster)
	verdict approver.Verdict
	why     string
}

func TestJudge(t *testing.T) {
	key := newKey(t)
	for name, tt := range judgements() {
		t.Run(name, func(t *testing.T) {
			a, c := worker1(), cluster{[]*corev1.Node{controlPlaneNode(), worker1Node()}, apiService()}
			if tt.ask != nil {
				tt.ask(&a)
			}
			if tt.in != nil {
				tt.in(&c)
			}
			request := a.request(t, key)
			if tt.as != nil {
				tt.as(request)
			}
			verdict, why := approver.Judge(request, c.nodes, c.api)
			if verdict != tt.verdict || !strings.Contains(why, tt.why) || (why == "") != (verdict == approver.Ignore) {
				t.Errorf("got %s, %q; want %s, %q", verdict, why, tt.verdict, tt.why)
			}
		})
	}
}

func judgements() map[string]judgement {
	all := map[string]judgement{}
	for _, some := range []map[string]judgement{good(), notOurs(), hostileHosts(), hostileRequests(), unready()} {
		for name, tt := range some {
			all[name] = tt
		}
	}
	return all
}

func good() map[string]judgement {
	return map[string]judgement{
		"a kubelet's": {verdict: approver.Approve, why: `Node "worker-1" has all`},
		"all the node has": {verdict: approver.Approve, ask: func(a *asking) {
			a.dns = []string{"worker-1", "worker-1.internal.example", "worker-1.example"}
			a.ips = []string{"192.0.2.11", "2001:db8::11", "198.51.100.11"}
		}},
		"a name only":       {verdict: approver.Approve, ask: func(a *asking) { a.ips = nil }},
		"an address only":   {verdict: approver.Approve, ask: func(a *asking) { a.dns = nil }},
		"letters' case":     {verdict: approver.Approve, ask: func(a *asking) { a.dns = []string{"WORKER-1"} }},
		"with encipherment": {verdict: approver.Approve, as: usages(certificatesv1.UsageKeyEncipherment, certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth)},
		"usages swapped":    {verdict: approver.Approve, as: usages(certificatesv1.UsageServerAuth, certificatesv1.UsageDigitalSignature)},
		"a long time": {verdict: approver.Approve, as: func(r *certificatesv1.CertificateSigningRequest) {
			r.Spec.ExpirationSeconds = new(int32(1 << 30))
		}},
		"no other nodes": {verdict: approver.Approve, in: func(c *cluster) { c.nodes = c.nodes[1:] }},
	}
}

func notOurs() map[string]judgement {
	out := map[string]judgement{
		"another signer": {verdict: approver.Ignore, as: func(r *certificatesv1.CertificateSigningRequest) {
			r.Spec.SignerName = certificatesv1.KubeAPIServerClientKubeletSignerName
		}},
		"signed": {verdict: approver.Ignore, as: func(r *certificatesv1.CertificateSigningRequest) {
			r.Status.Certificate = []byte("x")
		}},
	}
	for _, c := range []certificatesv1.RequestConditionType{"Approved", "Denied", "Failed"} {
		out["already "+string(c)] = judgement{verdict: approver.Ignore, as: func(r *certificatesv1.CertificateSigningRequest) {
			r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: c, Status: corev1.ConditionTrue}}
		}}
	}
	return out
}

// hostileHosts are names and addresses that worker-1 must not get. It also claims each in its status: that must not help.
func hostileHosts() map[string]judgement {
	out := map[string]judgement{}
	deny := func(kind, why string, hosts ...string) {
		for _, h := range hosts {
			ask := func(a *asking) { a.dns = append(a.dns, h) }
			if kind == "InternalIP" {
				ask = func(a *asking) { a.ips = append(a.ips, h) }
			}
			out[h] = judgement{verdict: approver.Deny, why: why, ask: ask}
			out[h+" claimed"] = judgement{verdict: approver.Deny, why: why, ask: ask, in: func(c *cluster) {
				mine := &c.nodes[1].Status.Addresses
				*mine = append(*mine, corev1.NodeAddress{Type: corev1.NodeAddressType(kind), Address: h})
			}}
		}
	}
	deny("InternalIP", "belongs to Node cp-1", "192.0.2.1", "2001:db8::1")
	deny("InternalIP", "belongs to the API servers' Service", "10.96.0.1", "2001:db8:96::1")
	deny("InternalIP", "cannot be the address of a node",
		"127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "169.254.169.254", "fe80::1")
	deny("InternalDNS", "belongs to Node cp-1", "cp-1", "CP-1", "cp-1.", "cp-1.example", "cp-1.EXAMPLE")
	deny("InternalDNS", "cannot be the name of a node", "localhost", "kubernetes", "Kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "kubernetes.default.svc.example.")
	deny("InternalDNS", "is not the name of a host", "*", "*.example", "worker-*", "cp-1..", "cp-1\x00.example", "", "192.0.2.11", "192.0.2.1", "192.000.002.011",
		"2001:db8::1", "cp_1", "https://cp-1", strings.Repeat("a", 64)+"."+strings.Repeat("b.", 200))
	out["another's name besides what is not reported"] = judgement{verdict: approver.Deny, why: "belongs to Node cp-1",
		ask: func(a *asking) { a.dns = []string{"worker-1.later", "cp-1"} }}
	out["another's before there is a node"] = judgement{verdict: approver.Deny, why: "belongs to Node cp-1",
		ask: func(a *asking) { a.ips = []string{"192.0.2.1"} }, in: func(c *cluster) { c.nodes = c.nodes[:1] }}
	out["an address that another node claims too"] = judgement{verdict: approver.Deny, why: "192.0.2.11 belongs to Node cp-1",
		in: func(c *cluster) {
			c.nodes[0] = node("cp-1", "ExternalIP", "::ffff:192.0.2.11")
		}}
	out["a node's name that is an address"] = judgement{verdict: approver.Deny, why: "belongs to Node 192.0.2.11",
		in: func(c *cluster) { c.nodes[0] = node("192.0.2.11") }}
	out["the Service's only in its first field"] = judgement{verdict: approver.Deny, why: "belongs to the API servers' Service",
		ask: func(a *asking) { a.ips = []string{"10.96.0.1"} }, in: func(c *cluster) { c.api.Spec.ClusterIPs = nil }}
	return out
}

func hostileRequests() map[string]judgement {
	organizational := asn1.ObjectIdentifier{2, 5, 4, 11}
	commonName := asn1.ObjectIdentifier{2, 5, 4, 3}
	subject := func(cn string, o ...string) func(*asking) {
		return func(a *asking) { a.subject = pkix.Name{CommonName: cn, Organization: o} }
	}
	more := func(id asn1.ObjectIdentifier, value string) func(*asking) {
		return func(a *asking) {
			a.subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
				{Type: id, Value: value}, {Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "system:nodes"}, {Type: commonName, Value: "system:node:worker-1"},
			}}
		}
	}
	written := func(f func(*pem.Block) []byte) func(*asking) { return func(a *asking) { a.pem = f } }
	user := func(name string, groups ...string) func(*certificatesv1.CertificateSigningRequest) {
		return func(r *certificatesv1.CertificateSigningRequest) { r.Spec.Username, r.Spec.Groups = name, groups }
	}
	out := map[string]judgement{
		"another node's common name":  {ask: subject("system:node:cp-1", "system:nodes"), why: "the common name"},
		"an administrator's name":     {ask: subject("kubernetes-admin", "system:nodes"), why: "the common name"},
		"no common name":              {ask: subject("", "system:nodes"), why: "the common name"},
		"administrators too":          {ask: subject("system:node:worker-1", "system:nodes", "system:masters"), why: "the organizations"},
		"administrators first":        {ask: subject("system:node:worker-1", "system:masters", "system:nodes"), why: "the organizations"},
		"administrators":              {ask: subject("system:node:worker-1", "system:masters"), why: "the organizations"},
		"no organization":             {ask: subject("system:node:worker-1"), why: "the organizations"},
		"a second common name":        {ask: more(commonName, "kubernetes-admin"), why: "the subject has more"},
		"an organizational unit":      {ask: more(organizational, "x"), why: "the subject has more"},
		"another user":                {as: user("kubernetes-admin", "system:nodes"), why: "is not a node"},
		"a service account":           {as: user("system:serviceaccount:kube-system:system:node:worker-1", "system:nodes"), why: "is not a node"},
		"a user without a node":       {as: user("system:node:", "system:nodes"), why: "is not a node"},
		"a user not of the nodes":     {as: user("system:node:worker-1", "system:authenticated"), why: "is not a node"},
		"a user of no group":          {as: user("system:node:worker-1"), why: "is not a node"},
		"an e-mail address":           {ask: func(a *asking) { a.emails = []string{"root@worker-1"} }, why: "e-mail"},
		"a URI":                       {ask: func(a *asking) { a.uris = []*url.URL{{Scheme: "spiffe", Host: "worker-1"}} }, why: "URIs"},
		"no names or addresses":       {ask: func(a *asking) { a.dns, a.ips = nil, nil }, why: "no name or address"},
		"a name changed afterwards":   {ask: written(forged("worker-1", "worker-2")), why: "signature"},
		"an address changed":          {ask: written(forged("\xc0\x00\x02\x0b", "\xc6\x33\x64\x0b")), why: "signature"},
		"garbage":                     {ask: written(func(*pem.Block) []byte { return []byte("garbage") }), why: "PEM"},
		"nothing":                     {ask: written(func(*pem.Block) []byte { return nil }), why: "PEM"},
		"garbage in PEM":              {ask: written(func(b *pem.Block) []byte { b.Bytes = []byte("garbage"); return pem.EncodeToMemory(b) }), why: "parse"},
		"a certificate":               {ask: written(func(b *pem.Block) []byte { b.Type = "CERTIFICATE"; return pem.EncodeToMemory(b) }), why: "PEM"},
		"two requests":                {ask: written(func(b *pem.Block) []byte { return slices.Repeat(pem.EncodeToMemory(b), 2) }), why: "PEM"},
		"a broken signature":          {ask: written(func(b *pem.Block) []byte { b.Bytes[len(b.Bytes)-1] ^= 1; return pem.EncodeToMemory(b) }), why: "signature"},
		"for clients":                 {as: usages("digital signature", "client auth"), why: `"server auth" is missing`},
		"for clients too":             {as: usages("digital signature", "server auth", "client auth"), why: `"client auth"`},
		"for signing":                 {as: usages("digital signature", "server auth", "cert sign"), why: `"cert sign"`},
		"for any purpose":             {as: usages("digital signature", "server auth", "any"), why: `"any"`},
		"for no purpose":              {as: usages(), why: "is missing"},
		"not for servers":             {as: usages("digital signature", "key encipherment"), why: `"server auth" is missing`},
		"without digital signature":   {as: usages("key encipherment", "server auth"), why: `"digital signature" is missing`},
		"bad, and no node yet":        {ask: subject("system:node:cp-1", "system:nodes"), in: func(c *cluster) { c.nodes = nil }, why: "the common name"},
		"bad, and no Service yet":     {ask: subject("system:node:cp-1", "system:nodes"), in: func(c *cluster) { c.api = nil }, why: "the common name"},
		"a name of unlimited length":  {ask: subject(strings.Repeat("x", 1<<16), "system:nodes"), why: `"` + strings.Repeat("x", 64) + `"`},
		"a usage of unlimited length": {as: usages("digital signature", "server auth", certificatesv1.KeyUsage(strings.Repeat("x", 1<<16))), why: `"` + strings.Repeat("x", 64) + `"`},
	}
	for name, tt := range out {
		tt.verdict = approver.Deny
		out[name] = tt
	}
	return out
}

// unready is what may be right later.
func unready() map[string]judgement {
	report := func(addresses ...string) func(*cluster) {
		return func(c *cluster) { c.nodes[1] = node("worker-1", addresses...) }
	}
	out := map[string]judgement{
		"no node yet":           {in: func(c *cluster) { c.nodes = c.nodes[:1] }, why: "does not exist yet"},
		"no nodes at all":       {in: func(c *cluster) { c.nodes = nil }, why: "does not exist yet"},
		"no addresses yet":      {in: report(), why: "has not reported 192.0.2.11"},
		"another address":       {in: report("InternalIP", "192.0.2.12"), why: "has not reported 192.0.2.11"},
		"another name":          {ask: func(a *asking) { a.dns = []string{"worker-1.later"} }, why: "has not reported worker-1.later"},
		"part of a name":        {ask: func(a *asking) { a.dns = []string{"internal.example"} }, why: "has not reported internal.example"},
		"an address as a name":  {in: report("Hostname", "192.0.2.11"), why: "has not reported 192.0.2.11"},
		"a name as an address":  {ask: func(a *asking) { a.dns = []string{"x"} }, in: report("InternalIP", "192.0.2.11", "InternalIP", "x"), why: "has not reported x"},
		"a type nobody knows":   {in: report("PublicIP", "192.0.2.11"), why: "has not reported 192.0.2.11"},
		"the Service not known": {in: func(c *cluster) { c.api = nil }, why: "the API servers' Service is not known"},
		"a node that is named as an address": {why: "has not reported 192.0.2.77",
			ask: func(a *asking) {
				a.subject.CommonName, a.dns, a.ips = "system:node:192.0.2.77", nil, []string{"192.0.2.77"}
			},
			as: func(r *certificatesv1.CertificateSigningRequest) { r.Spec.Username = "system:node:192.0.2.77" },
			in: func(c *cluster) { c.nodes[1] = node("192.0.2.77") }},
	}
	for name, tt := range out {
		tt.verdict = approver.Wait
		out[name] = tt
	}
	return out
}

func usages(u ...certificatesv1.KeyUsage) func(*certificatesv1.CertificateSigningRequest) {
	return func(r *certificatesv1.CertificateSigningRequest) { r.Spec.Usages = u }
}

// TestEndpoint: the host that the API is reached by is for control planes only, even if a worker says that it has it.
func TestEndpoint(t *testing.T) {
	a := worker1()
	request := a.request(t, newKey(t))
	mine := worker1Node()
	address := mine.Status.Addresses[0].Address
	for _, tt := range []struct {
		endpoint string
		labels   map[string]string
		want     approver.Verdict
	}{
		{"api.example.com", nil, approver.Approve},
		{address, nil, approver.Deny},
		{address, map[string]string{"node-role.kubernetes.io/control-plane": ""}, approver.Approve},
	} {
		mine.Labels = tt.labels
		if got, why := approver.Judge(request, []*corev1.Node{mine}, apiService(), "api.example.net", tt.endpoint); got != tt.want {
			t.Errorf("endpoint %q, labels %v: %s (%s), want %s", tt.endpoint, tt.labels, got, why, tt.want)
		}
	}
}
