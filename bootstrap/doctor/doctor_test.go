package doctor_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/doctor"
	"slipway.dev/slipway/internal/fault"
)

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range doctor.Checks() {
		if !c.Complete() || seen[c.Name] {
			t.Errorf("check %q is not complete, or there twice", c.Name)
		}
		seen[c.Name] = true
	}
}

// TestNothingIsThere has a control plane of which nothing but the knowledge is left: every check must say so, with advice.
func TestNothingIsThere(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), controlPlane(), false)
	h := r.host()
	h.Unit = func(context.Context, string) (doctor.Unit, error) { return doctor.Unit{}, errors.New("no systemd") }
	report, err := doctor.Look(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"node", "units", "containerd", "static-pods", "health", "etcd", "api", "certificates", "cni"}
	if got := report.Problems(); !slices.Equal(got, want) || report.Level != doctor.Problem {
		t.Errorf("problems with %q, level %s", got, report.Level)
	}
	if len(report.Checks) != len(doctor.Checks()) {
		t.Errorf("%d results of %d checks", len(report.Checks), len(doctor.Checks()))
	}
	for _, c := range report.Checks {
		for _, f := range c.Findings {
			if f.What == "" || (f.Level != doctor.OK) != (f.Next != "") {
				t.Errorf("%s: not complete, or advice where all is well: %+v", c.Name, f)
			}
		}
	}
}

func TestWorkerHasNoControlPlane(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), worker(), true)
	report, err := doctor.Look(t.Context(), r.host())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Checks {
		if c.Name == "etcd" || c.Name == "static-pods" || c.Name == "health" {
			t.Errorf("%s was looked at", c.Name)
		}
	}
}

// TestHang has a systemd that never answers: nobody waits for it, and the others' findings are there.
func TestHang(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), worker(), true)
	h := r.host()
	h.Unit = func(context.Context, string) (doctor.Unit, error) {
		<-hang
		return doctor.Unit{}, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	report, err := doctor.LookWithin(ctx, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Checks {
		switch c.Name {
		case "units":
			expect(t, c.Findings, problem("could not be found out", "systemctl status"))
		case "node":
			expect(t, c.Findings, fine("as node \"w\""))
		}
	}
}

func TestInterrupted(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), worker(), true)
	ctx, cancel := context.WithCancel(t.Context())
	h := r.host()
	h.Unit = func(ctx context.Context, _ string) (doctor.Unit, error) {
		cancel()
		<-ctx.Done()
		return doctor.Unit{}, ctx.Err()
	}
	if report, err := doctor.Look(ctx, h); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", report, err)
	}
}

func TestWhatThisHostIs(t *testing.T) {
	cp, joins, w := controlPlane(), controlPlane(), worker()
	joins.Init, joins.Joins = false, true
	c := theCluster("192.0.2.1:6443")
	for name, tt := range map[string]struct {
		make func(*testing.T, root)
		want want
	}{
		"control plane":          {func(t *testing.T, r root) { r.save(t, c, cp, true) }, fine(`control plane of cluster "c", as node "cp"`)},
		"worker":                 {func(t *testing.T, r root) { r.save(t, c, w, true) }, fine(`worker of cluster "c"`)},
		"interrupted init":       {func(t *testing.T, r root) { r.save(t, c, cp, false) }, problem("not yet a control plane", "`slipway init`", `"/bundle"`, "`slipway reset`")},
		"interrupted join":       {func(t *testing.T, r root) { r.save(t, c, w, false) }, problem("not yet a worker", "`slipway join 192.0.2.1:6443`")},
		"interrupted other join": {func(t *testing.T, r root) { r.save(t, c, joins, false) }, problem("`slipway join 192.0.2.1:6443 --control-plane`")},
		"journal only":           {func(t *testing.T, r root) { r.write(t, "/var/lib/slipway/journal.jsonl", "{}\n") }, problem("not known", "`slipway reset`")},
		"journal of the fleet": {func(t *testing.T, r root) {
			r.write(t, "/var/lib/slipway/journal.jsonl", "{}\n")
			r.write(t, "/etc/kubernetes/kubelet.conf", "")
		}, fine("by other means")},
		"not JSON":      {func(t *testing.T, r root) { r.write(t, "/var/lib/slipway/node.json", "{") }, problem("cannot be used", "unexpected end")},
		"newer version": {func(t *testing.T, r root) { r.write(t, "/var/lib/slipway/node.json", `{"v": 2}`) }, problem("version 2, this program knows 1")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoot(t)
			tt.make(t, r)
			expect(t, r.examine(t, "node"), tt.want)
		})
	}
}

func TestNotANode(t *testing.T) {
	r := newRoot(t)
	r.write(t, "/var/lib/slipway/journal.jsonl", "") // of a reset
	_, err := doctor.Look(t.Context(), r.host())
	if f := fault.All(err); len(f) != 1 || f[0].ID != "not-a-node" || f[0].Next == "" {
		t.Errorf("got %v", err)
	}
}

// TestKubeadmsNode has nothing of slipway's.
func TestKubeadmsNode(t *testing.T) {
	r := newNode(t, theCluster("127.0.0.1:1"), controlPlane(), time.Now())
	r.remove(t, "/var/lib/slipway")
	r.write(t, "/etc/kubernetes/manifests/kube-apiserver.yaml", `{metadata: {name: kube-apiserver}, spec: {containers: [{
		name: kube-apiserver, image: "registry.k8s.io/kube-apiserver:v1.36.4", command: [kube-apiserver, --advertise-address=127.0.0.9]}]}}`)
	report, err := doctor.Look(t.Context(), r.host())
	if err != nil {
		t.Fatal(err)
	}
	n := report.Node
	if n.Name != "cp" || n.Role() != "control plane" || n.KubernetesVersion != "v1.36.4" || n.Address != "127.0.0.9" || n.Endpoint != "https://127.0.0.1:6443" {
		t.Errorf("got %+v", n)
	}
	expect(t, r.examine(t, "certificates"), fine("16 certificates"))
}

func TestRedacted(t *testing.T) {
	for text, want := range map[string]string{
		"token abcdef.0123456789abcdef is bad":                 "token abcdef [secret] is bad",
		"Authorization: Bearer aaa.bbb x":                      "Authorization: Bearer [secret] x",
		"password=hunter2 x":                                   "password= [secret] x",
		"-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC":     "-----BEGIN EC PRIVATE KEY----- [secret] EC",
		`{"password":"x","token": "y","other":"z"}`:            `{"password": [secret]","token": [secret]","other":"z"}`,
		"Authorization: Basic dXNlcg== x":                      "Authorization: Basic [secret] x",
		"client-key-data: LS0tLS1CRUdJTg":                      "client-key-data: [secret]",
		"basic authentication is off, the token is bad":        "basic authentication is off, the token is bad",
		"--certificate-key 0123abcd":                           "--certificate-key [secret]",
		"got eyJhbGciOiJ.eyJpc3M.c2ln":                         "got eyJ [secret]",
		"etcd.example.org:2379 kube-system/etcd-srv-1 v1.37.1": "etcd.example.org:2379 kube-system/etcd-srv-1 v1.37.1",
	} {
		if got := doctor.Quoted(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if got := doctor.Quoted(strings.Repeat("ä", 1000)); len([]rune(got)) > 310 {
		t.Errorf("a long line has %d characters", len([]rune(got)))
	}
}

func TestRootOnly(t *testing.T) {
	err := doctor.CheckRoot()
	f := fault.All(err)
	if os.Geteuid() == 0 && err != nil || os.Geteuid() != 0 && (len(f) != 1 || f[0].ID != "not-root") {
		t.Errorf("got %v", err)
	}
}
