package cmd

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/server"
	"slipway.dev/slipway/certs"
)

func TestCertsCalls(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	for args, want := range map[string]string{
		"certs check x": "unknown command", "certs renw": "unknown command", "certs upload x": "unknown command",
		"certs renew all apiserver": "leave out", "certs check -o yaml": "text or json", "certs upload": "is not there",
	} {
		_, _, err := run(t, strings.Fields(args)...)
		var text bytes.Buffer
		if err != nil {
			printError(&text, err)
		}
		if !strings.Contains(text.String(), want) {
			t.Errorf("%s: %s, want %q", args, text.String(), want)
		}
	}
}

func TestNamesOf(t *testing.T) {
	for args, want := range map[string][]string{"": nil, "all": nil, "apiserver": {"apiserver"}, "apiserver scheduler.conf": {"apiserver", "scheduler.conf"}} {
		if got, err := namesOf(strings.Fields(args)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", args, got, err)
		}
	}
	_, err := namesOf([]string{"apiserver", "all"})
	wantFault(t, err, "option-invalid")
}

func statuses() []certs.Status {
	at := func(day int) certs.Certificate {
		return certs.Certificate{NotAfter: time.Date(2026, 5, day, 0, 0, 0, 0, time.UTC)}
	}
	return []certs.Status{
		{Name: "ca", Certificate: at(20), Remaining: 3000 * 24 * time.Hour},
		{Name: "apiserver", Certificate: at(2), Remaining: 24 * time.Hour, Authority: "ca", Findings: []certs.Finding{{Kind: certs.ExpiresSoon, Detail: "d"}}},
		{Name: "etcd-peer", Certificate: at(1), Remaining: -time.Hour, Authority: "etcd/ca",
			Findings: []certs.Finding{{Kind: certs.Expired, Detail: "d"}, {Kind: certs.KeyExposed, Detail: "d"}}},
		{Name: "admin.conf", Authority: "ca", Findings: []certs.Finding{{Kind: certs.Unreadable, Detail: "d"}}},
	}
}

func TestPrintCertificates(t *testing.T) {
	const want = `NAME         EXPIRES      REMAINING   AUTHORITY   PROBLEMS
ca           2026-05-20   8y          -           -
apiserver    2026-05-02   24h         ca          expires-soon
etcd-peer    2026-05-01   none        etcd/ca     expired,key-exposed
admin.conf   -            -           ca          unreadable
`
	var out, problems bytes.Buffer
	o := &options{Stdout: &out, Stderr: &problems}
	if err := printCertificates(o, "text", statuses()); err != nil || out.String() != want {
		t.Errorf("%v\ngot\n%s\nwant\n%s", err, out.String(), want)
	}
	if got := problems.String(); !strings.HasPrefix(got, "warning: apiserver: ") || strings.Count(got, "\n") != 1 {
		t.Errorf("warned %q", got)
	}
	out.Reset()
	problems.Reset()
	if err := printCertificates(o, "json", statuses()); err != nil {
		t.Fatal(err)
	}
	var back []certs.Status
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back) != 4 || back[2].Findings[0].Kind != certs.Expired || problems.Len() > 0 {
		t.Errorf("%v: %s%s", err, out.String(), problems.String())
	}
}

func TestPrintExternal(t *testing.T) {
	list := statuses()[:2]
	list[1].Name, list[1].Authority, list[1].External = "apiserver-etcd-client", "etcd/ca", true
	var out, problems bytes.Buffer
	o := &options{Stdout: &out, Stderr: &problems}
	if err := printCertificates(o, "text", list); err != nil || !strings.Contains(out.String(), "external    expires-soon\n") {
		t.Errorf("%v, %q", err, out.String())
	}
	if got := problems.String(); got != "warning: apiserver-etcd-client: less than 30 days left; whoever runs etcd renews it\n" {
		t.Errorf("warned %q", got)
	}
	out.Reset()
	if err := printRenewal(o, "text", &server.Renewal{External: list[1:]}); err != nil ||
		out.String() != "apiserver-etcd-client: left alone, good until 2026-05-02: whoever runs etcd renews it\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}

func TestPrintRenewal(t *testing.T) {
	all := statuses()
	for name, tt := range map[string]struct {
		renewal  *server.Renewal
		out, err string
	}{
		"one": {&server.Renewal{Certificates: all[1:2]}, "apiserver: renewed, good until 2026-05-02\n", ""},
		"restarts": {&server.Renewal{Certificates: all[2:3], Restarted: []string{"kube-scheduler"}, Warning: "w"},
			"etcd-peer: renewed, good until 2026-05-01\nkube-scheduler: restarted\n", "warning: w\n"},
	} {
		var out, problems bytes.Buffer
		if err := printRenewal(&options{Stdout: &out, Stderr: &problems}, "text", tt.renewal); err != nil || out.String() != tt.out || problems.String() != tt.err {
			t.Errorf("%s: %v, %q, %q", name, err, out.String(), problems.String())
		}
	}
	var out bytes.Buffer
	if err := printRenewal(&options{Stdout: &out}, "text", &server.Renewal{Certificates: all}); err != nil || !strings.Contains(out.String(), "Copies of /etc/kubernetes/admin.conf") {
		t.Errorf("%v, %q", err, out.String())
	}
	out.Reset()
	if err := printRenewal(&options{Stdout: &out}, "json", &server.Renewal{Certificates: all[:1], Restarted: []string{}}); err != nil ||
		!strings.HasPrefix(out.String(), `{"certificates":[{"name":"ca"`) || !strings.HasSuffix(out.String(), `"restarted":[]}`+"\n") {
		t.Errorf("%v, %q", err, out.String())
	}
}

func TestPrintUpload(t *testing.T) {
	var out bytes.Buffer
	o := &options{Stdout: &out}
	if err := printUpload(o, "text", "0a0b"); err != nil || !strings.HasSuffix(out.String(), "\n  slipway token create --certificate-key 0a0b\n") ||
		!strings.Contains(out.String(), ":\n  0a0b\n\n") {
		t.Errorf("%v, %q", err, out.String())
	}
	out.Reset()
	if err := printUpload(o, "json", "0a0b"); err != nil || out.String() != "{\"certificateKey\":\"0a0b\"}\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}
