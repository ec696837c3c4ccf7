package doctor_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"slipway.dev/slipway/certs"
)

// apiServer is one over TLS that knows its clients by the cluster's authority.
type apiServer struct {
	*httptest.Server
	answer func(http.ResponseWriter)
}

// newAPI gives an API server, and a worker of its cluster.
func newAPI(t *testing.T) (*apiServer, root) {
	t.Helper()
	now := time.Now()
	cas := newAuthorities(t, now)
	its := newRoot(t)
	its.certify(t, cas, theCluster("127.0.0.1:1"), controlPlane(), now)
	a := &apiServer{}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		pods := q.URL.Path == "/api/v1/namespaces/kube-system/pods" && q.URL.Query().Get("fieldSelector") == "spec.nodeName=w"
		if !pods && q.URL.Path != "/api/v1/nodes/w" || q.TLS.PeerCertificates[0].Subject.CommonName != "system:node:w" {
			http.Error(w, "not for you", http.StatusTeapot)
			return
		}
		a.answer(w)
	}))
	pair, err := tls.LoadX509KeyPair(its.path("/etc/kubernetes/pki/apiserver.crt"), its.path("/etc/kubernetes/pki/apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(its.path("/etc/kubernetes/pki/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(ca)
	a.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	a.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.StartTLS()
	t.Cleanup(a.Close)

	r := newRoot(t)
	c := theCluster(strings.TrimPrefix(a.URL, "https://"))
	r.save(t, c, worker(), true)
	r.certify(t, cas, c, worker(), now)
	return a, r
}

func theNode(change func(*corev1.Node)) func(http.ResponseWriter) {
	n := &corev1.Node{}
	n.Name = "w"
	n.Status.NodeInfo.KubeletVersion = "v1.37.1"
	n.Status.Conditions = []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse}, {Type: corev1.NodeReady, Status: corev1.ConditionTrue},
	}
	change(n)
	return func(w http.ResponseWriter) { _ = json.NewEncoder(w).Encode(n) }
}

func TestAPI(t *testing.T) {
	a, r := newAPI(t)
	answers := fine("answers in", a.URL)
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter)
		want   []want
	}{
		"ready": {theNode(func(*corev1.Node) {}), []want{answers, fine("is ready", "v1.37.1")}},
		"not ready": {theNode(func(n *corev1.Node) {
			n.Status.Conditions[1] = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: "no network"}
		}), []want{answers, problem("KubeletNotReady", "no network")}},
		"unknown":  {theNode(func(n *corev1.Node) { n.Status.Conditions[1].Status = corev1.ConditionUnknown }), []want{answers, problem("not ready")}},
		"silent":   {theNode(func(n *corev1.Node) { n.Status.Conditions = nil }), []want{answers, problem("has not said anything")}},
		"pressure": {theNode(func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue }), []want{answers, fine("ready"), problem("MemoryPressure")}},
		"cordoned and tainted": {theNode(func(n *corev1.Node) {
			n.Spec.Unschedulable = true
			n.Spec.Taints = []corev1.Taint{{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}}
		}), []want{answers, fine("ready"), warned("cordoned", "kubectl uncordon w"), fine("taints: k=v:NoSchedule")}},
		"deleted":      {func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, []want{answers, problem(`no node "w"`, "restart the kubelet")}},
		"refused":      {func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }, []want{answers, problem("does not accept")}},
		"out of order": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }, []want{answers, problem("503")}},
		"another":      {func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") }, []want{problem("cannot be reached", "not Kubernetes")}},
		"clock": {func(w http.ResponseWriter) {
			w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			theNode(func(*corev1.Node) {})(w)
		}, []want{answers, problem("clock", "1h0m"), fine("ready")}},
	} {
		t.Run(name, func(t *testing.T) {
			a.answer = tt.answer
			expect(t, r.examine(t, "api"), tt.want...)
		})
	}
}

func TestAPIIsNotTheClusters(t *testing.T) {
	a, _ := newAPI(t)
	r := newNode(t, theCluster(strings.TrimPrefix(a.URL, "https://")), worker(), time.Now())
	expect(t, r.examine(t, "api"), problem("cannot be reached", "x509", "certificates"))
}

func TestAPIUnreachable(t *testing.T) {
	a, r := newAPI(t)
	a.Close()
	expect(t, r.examine(t, "api"), problem("cannot be reached", "refused", "control planes"))
	r.remove(t, certs.KubeletPKI)
	expect(t, r.examine(t, "api"), problem("kubeconfig cannot be used", filepath.Base(certs.KubeletPKI)))
}
