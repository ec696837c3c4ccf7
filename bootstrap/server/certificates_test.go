package server

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

const day = 24 * time.Hour

func TestCheckCertificates(t *testing.T) {
	for name, tt := range map[string]struct {
		age    time.Duration
		change func(*testing.T, *server)
		want   string // names in the faults, with what is wrong
		advice string
	}{
		"all is well":  {age: day},
		"expires soon": {age: 350 * day},
		"key exposed": {age: day, change: func(t *testing.T, h *server) {
			if err := os.Chmod(h.path("/etc/kubernetes/pki/etcd/peer.key"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, want: `"etcd-peer": key-exposed`, advice: "chmod 600"},
		"key missing": {age: day, change: func(t *testing.T, h *server) { h.remove(t, "/etc/kubernetes/pki/apiserver.key") },
			want: `"apiserver": key-missing`, advice: "`slipway certs renew apiserver`"},
		"other names": {age: day, change: func(_ *testing.T, h *server) { h.state.Spec.Cluster.ExtraSANs = []string{"another.example"} },
			want: `"apiserver": hosts-missing (another.example)`, advice: "`slipway certs renew apiserver`"},
		"unreadable": {age: day, change: func(t *testing.T, h *server) { h.write(t, "/etc/kubernetes/pki/apiserver.crt", nil) },
			want: `"apiserver": unreadable`, advice: "move /etc/kubernetes/pki/apiserver.crt away"},
		"damaged authority": {age: day, change: func(t *testing.T, h *server) { h.write(t, "/etc/kubernetes/pki/front-proxy-ca.crt", nil) },
			want: `"front-proxy-ca": unreadable`, advice: "files of the authority"},
		"clock": {age: -day, want: `"ca": not-yet-valid`, advice: "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newServer(t, tt.age)
			if tt.change != nil {
				tt.change(t, h)
			}
			list, err := checkCertificates(h.root, h.state, time.Now())
			if len(list) != len(certs.Table())+3 {
				t.Errorf("%d certificates", len(list))
			}
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			first := fault.All(err)[0]
			if first.ID != "certificates-unfit" || !strings.Contains(first.Error(), tt.want) || !strings.Contains(first.Next, tt.advice) {
				t.Errorf("got %q: %v; next %s", first.ID, first, first.Next)
			}
		})
	}
}

// TestCheckTellsAll wants one fault for each that has expired, and none for the authorities, which have not.
func TestCheckTellsAll(t *testing.T) {
	h := newServer(t, 400*day)
	_, err := checkCertificates(h.root, h.state, time.Now())
	wantFaults(t, err, slices.Repeat([]string{"certificates-unfit"}, len(certs.Table()))...)
	for _, f := range fault.All(err) {
		if own := strings.HasSuffix(f.Op, ` "kubelet-client"`); own != strings.Contains(f.Next, "kubelet's log") {
			t.Errorf("%s: next %s", f.Op, f.Next)
		}
	}
}

// TestCheckSelfSignedKubelet: kubeadm's kubelets sign their serving certificate themselves, and so do those that join there.
func TestCheckSelfSignedKubelet(t *testing.T) {
	const serving = "/var/lib/kubelet/pki/kubelet"
	for name, tt := range map[string]struct {
		change func(*testing.T, *server)
		well   bool
	}{
		"kubeadm's":        {func(t *testing.T, h *server) { h.asKubeadms(t) }, true},
		"joined to that":   {func(_ *testing.T, h *server) { h.state.Spec.Node.Serving = bootstrap.ServingSelfSigned }, true},
		"of the authority": {func(*testing.T, *server) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, other := newServer(t, day), newServer(t, day)
			for _, ext := range []string{".crt", ".key"} {
				h.write(t, serving+ext, other.read(t, serving+ext)) // of an authority that is not here
			}
			tt.change(t, h)
			list, err := checkCertificates(h.root, h.state, time.Now())
			if (err == nil) != tt.well {
				t.Errorf("got %v", err)
			}
			i := slices.IndexFunc(list, func(s certs.Status) bool { return s.Name == "kubelet-serving" })
			if (list[i].Authority == "") != tt.well {
				t.Errorf("authority %q", list[i].Authority)
			}
		})
	}
}

func TestCheckWithoutCertificates(t *testing.T) {
	list, err := checkCertificates(t.TempDir(), nil, time.Now())
	if list != nil {
		t.Errorf("got %v", list)
	}
	wantFaults(t, err, "not-a-node")
}

func TestUploadFaults(t *testing.T) {
	c := fake.NewClientset()
	key, err := invite.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for id, why := range map[string]error{"authority-missing": fs.ErrNotExist, "not-root": fs.ErrPermission} {
		err := uploadCertificates(t.Context(), c, key, func(string) ([]byte, error) { return nil, why })
		wantFaults(t, err, id)
		if !errors.Is(err, why) {
			t.Errorf("%s does not say why: %v", id, err)
		}
	}
	if got := secretNames(t, c); len(got) != 0 {
		t.Errorf("made %q", got)
	}
	_, err = UploadCertificates(t.Context(), c, "short")
	wantFaults(t, err, "certificate-key-invalid")
}

func TestUpload(t *testing.T) {
	h, c := newServer(t, day), fake.NewClientset()
	key, err := keyOf(strings.Repeat("0a", 32))
	if err != nil {
		t.Fatal(err)
	}
	if err := uploadCertificates(t.Context(), c, key, certs.Host(h.root)); err != nil {
		t.Fatal(err)
	}
	got, err := invite.DownloadCertificates(t.Context(), c, key)
	if err != nil || string(got["pki/ca.key"]) != string(h.read(t, "/etc/kubernetes/pki/ca.key")) {
		t.Errorf("downloaded %d files, %v", len(got), err)
	}
}
