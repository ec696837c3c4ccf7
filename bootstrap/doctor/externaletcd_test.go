package doctor_test

import (
	"fmt"
	"testing"
	"time"
)

// TestExternalEtcd asks a real one, on a node of ours and on one that kubeadm made.
func TestExternalEtcd(t *testing.T) {
	c := theCluster("127.0.0.1:1")
	r := newNode(t, c, controlPlane(), time.Now())
	m, dead := newMember(t, "theirs"), freeURL(t)
	c.ExternalEtcd = []string{dead}
	r.save(t, c, controlPlane(), true)
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		r.manifest(t, name, "http://127.0.0.1:1", "/")
	}
	(&fakeRuntime{}).serve(t, r)
	noContainer := problem("no container")
	expect(t, r.examine(t, "static-pods"), noContainer, noContainer, noContainer) // and nothing about etcd's manifest
	expect(t, r.examine(t, "etcd"), warned("does not answer at "+dead, "connection refused"), problem("does not answer at all", "whoever runs it"))

	_, ended := m.start(t, etcdProgram(t), r, m.initial())
	m.wait(t, r, ended, true)
	c.ExternalEtcd = []string{m.client, dead}
	r.save(t, c, controlPlane(), true)
	want := []want{warned(dead), fine("MB of 2048 MB"), fine("is external, and answers at 1 of 2 URLs")}
	expect(t, r.examine(t, "etcd"), want...)

	r.remove(t, "/var/lib/slipway")
	r.write(t, "/etc/kubernetes/kubelet.conf", "")
	r.write(t, "/etc/kubernetes/manifests/kube-apiserver.yaml", fmt.Sprintf(`{metadata: {name: kube-apiserver}, spec: {containers: [{name: kube-apiserver,
		command: ["--etcd-servers=%s,%s", --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt, --etcd-certfile=/etc/kubernetes/pki/etcd/server.crt,
		--etcd-keyfile=/etc/kubernetes/pki/etcd/server.key]}]}}`, m.client, dead))
	expect(t, r.examine(t, "etcd"), want...)
}
