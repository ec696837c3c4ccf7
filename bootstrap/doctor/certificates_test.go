package doctor_test

import (
	"os"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap"
)

func TestCertificates(t *testing.T) {
	const day = 24 * time.Hour
	c := theCluster("127.0.0.1:6443")
	r := newNode(t, c, controlPlane(), time.Now())
	expect(t, r.examine(t, "certificates"), fine("16 certificates", "in 364 days"))

	if err := os.Chmod(r.path("/etc/kubernetes/pki/apiserver.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.write(t, "/etc/kubernetes/pki/etcd/peer.crt", "nonsense")
	expect(t, r.examine(t, "certificates"), warned("apiserver", "key-exposed", "chmod"), problem("etcd-peer", "unreadable", "certs renew etcd-peer"), fine())

	w := newNode(t, c, worker(), time.Now().Add(-350*day))
	expect(t, w.examine(t, "certificates"), warned("kubelet-serving", "expires-soon"), warned("kubelet-client", "expires-soon"), fine("in 14 days"))
	w = newNode(t, c, worker(), time.Now().Add(-400*day))
	expect(t, w.examine(t, "certificates"), problem("kubelet-serving", "expired"), problem("kubelet-client", "expired", "slipway join"), fine())
	w = newNode(t, c, worker(), time.Now().Add(day))
	expect(t, w.examine(t, "certificates"), problem("ca ", "not-yet-valid", "clock"), problem("kubelet-serving"), problem("kubelet-client"), fine())
}

// TestOtherNamesCertificates has certificates for another node than this host is.
func TestOtherNamesCertificates(t *testing.T) {
	c := theCluster("127.0.0.1:6443")
	r := newNode(t, c, worker(), time.Now())
	other := worker()
	other.Name = "x"
	r.save(t, c, other, true)
	expect(t, r.examine(t, "certificates"), problem("kubelet-serving", "hosts-missing", "x"), fine())
	other.Serving = bootstrap.ServingSelfSigned
	r.save(t, c, other, true)
	expect(t, r.examine(t, "certificates"), fine())
}

func TestServingCertificateOfTheCluster(t *testing.T) {
	r := newNode(t, theCluster("127.0.0.1:6443"), worker(), time.Now())
	r.write(t, "/var/lib/kubelet/pki/kubelet-server-current.pem", "nonsense")
	expect(t, r.examine(t, "certificates"), problem("serving certificate cannot be read"))
}
