package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap/cri"
)

// TestChooseLog: of what has ended, the first that others need says why; otherwise what the step itself waits for.
func TestChooseLog(t *testing.T) {
	ends := func(name string) cri.Container { return cri.Container{Pod: name, Ended: true} }
	runs := func(name string) cri.Container { return cri.Container{Pod: name} }
	for _, tt := range []struct {
		step string
		all  []cri.Container
		want string
	}{
		{"api", []cri.Container{ends("kube-apiserver-n1"), ends("etcd-n1")}, "etcd-n1"},
		{"api", []cri.Container{ends("kube-apiserver-n1"), runs("etcd-n1")}, "kube-apiserver-n1"},
		{"api", []cri.Container{runs("kube-apiserver-n1"), runs("etcd-n1"), ends("coredns-1")}, "kube-apiserver-n1"},
		{"controllers", []cri.Container{runs("etcd-n1"), ends("kube-scheduler-n1"), runs("kube-controller-manager-n1")}, "kube-scheduler-n1"},
		{"calico-ready", []cri.Container{runs("calico-node-a"), ends("calico-kube-controllers-b"), ends("coredns-1")}, "calico-kube-controllers-b"},
		{"coredns-ready", []cri.Container{runs("coredns-new"), ends("kube-proxy-a")}, "coredns-new"},
		{"kubelet", []cri.Container{ends("etcd-n1")}, ""},
		{"api", nil, ""},
	} {
		_, names := waitsFor(tt.step)
		got := ""
		if c := choose(tt.all, names); c != nil {
			got = c.Pod
		}
		if got != tt.want {
			t.Errorf("%s with %v: %q, want %q", tt.step, tt.all, got, tt.want)
		}
	}
}

func TestRoutine(t *testing.T) {
	const text = "I1122 00:05:36.8 223 server.go:177] all is well\nE1122 00:05:40.8 223 x.go:3] bad\nInstead\nI1122 00:05:41.8 last"
	if got := routine.ReplaceAllString(text, ""); got != "E1122 00:05:40.8 223 x.go:3] bad\nInstead\n" {
		t.Errorf("%q", got)
	}
}

func TestNoLog(t *testing.T) {
	if log := LogEnd(t.Context(), "directories"); log != nil {
		t.Errorf("what has no log has %v", log)
	}
}

func TestEndOf(t *testing.T) {
	text := "\n"
	for i := range 50 {
		text += fmt.Sprintln("early", i)
	}
	text += "\n  one  \n" + strings.Repeat("ü", logWidth) + "\n\xff\n"
	got := endOf(text)
	if len(got) != logLines || got[logLines-2] != "one" || got[logLines-1] != strings.Repeat("ü", logWidth/2)+"..." {
		t.Errorf("%q", got)
	}
	const again = "E1122 00:21:42.728412     131 pod_workers.go:1338] \"Error syncing\" pod=a\nE1122 00:21:43.1     131 x.go:8] other\n" +
		"E1122 00:21:55.728412     131 pod_workers.go:1338] \"Error syncing\" pod=a\n"
	if got := endOf(again); !slices.Equal(got, []string{"other", `"Error syncing" pod=a`}) {
		t.Errorf("%q of what repeats itself", got)
	}
	entry := `{"level":"fatal","ts":"2026-11-21T23:49:56Z","msg":"discovery failed","error":"not a directory","stacktrace":"go.etcd.io/..."}`
	if got := endOf(entry + "\n{not: json}\n"); !slices.Equal(got, []string{"fatal discovery failed: not a directory", "{not: json}"}) {
		t.Errorf("%q of etcd", got)
	}
	if got := endOf("\n \n"); !slices.Equal(got, nil) {
		t.Errorf("%q of nothing", got)
	}
}
