package e2e_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
)

// checkResetMembers: the cluster goes on without them, and they are as they were.
func checkResetMembers(t *testing.T, g group, third, fourth []string) {
	g.must(t, 3, "slipway reset")
	g.must(t, 4, "slipway reset")
	g.sameHost(t, 3, third, auditLog)
	g.sameHost(t, 4, fourth)
	checkServers(t, g, 2)
	checkEtcd(t, g, 2)
	checkBalancers(t, g, 2, 2)
}

// checkExpired: with a token that is no longer good, or a key of certificates that are gone with theirs, nothing is written.
func checkExpired(t *testing.T, g group, join joinCommands, host []string) {
	short := g.must(t, 1, "slipway token create --ttl 1s --print-join-command")
	owner := g.kubectl(t, 1, "-n kube-system get secret kubeadm-certs -o jsonpath='{.metadata.ownerReferences[0].name}'")
	g.kubectl(t, 1, "-n kube-system delete secret "+owner) // as the cluster does it after two hours
	eventually(t, "what was uploaded is gone", time.Minute, func() error {
		if out := g.kubectl(t, 1, "-n kube-system get secrets"); strings.Contains(out, "kubeadm-certs") {
			return errors.New(out)
		}
		return nil
	})
	g.fails(t, 3, join.controlPlane, "certificates-not-uploaded")
	g.fails(t, 3, strings.TrimSpace(short)+" --bundle /media/bundle --wait 10s", "token-unknown")
	g.sameHost(t, 3, host, auditLog)
	g.must(t, 1, "slipway certs upload --certificate-key "+join.key)
}

// checkJoinAgain has the worker find the cluster by a file.
func checkJoinAgain(t *testing.T, g group, join joinCommands) {
	file := g.kubectl(t, 1, "-n kube-public get configmap cluster-info -o jsonpath={.data.kubeconfig}")
	token := regexp.MustCompile(`--token \S+`).FindString(join.worker)
	g.together(t, map[int]string{3: join.controlPlane, 4: "cat > /run/cluster.conf <<'END'\n" + file +
		"\nEND\nslipway join --discovery-file /run/cluster.conf --bundle /media/bundle " + token + " && rm /run/cluster.conf"})
	checkServers(t, g, 4)
	checkEtcd(t, g, 3)
}

// checkResetCutOff: a cluster that cannot be reached is no reason to reset, unless that is insisted on; it has the Node still.
func checkResetCutOff(t *testing.T, g group) {
	g.must(t, 4, `nft 'add table inet cut; add chain inet cut out { type filter hook output priority 0; }
		add rule inet cut out ip daddr != 127.0.0.0/8 tcp dport 6443 reject with tcp reset'`)
	g.fails(t, 4, "slipway reset", "cluster-unreachable")
	g.must(t, 4, "systemctl is-active kubelet containerd slipway-balancer && ls /etc/kubernetes/kubelet.conf")
	if r := g.on(t, 4, "slipway reset --force"); r.code != 0 || !strings.Contains(r.stderr, "the cluster still knows this node") ||
		!strings.Contains(r.stderr, "kubectl delete node srv-4") {
		t.Errorf("reset by force: %v", r)
	}
	g.must(t, 4, "nft delete table inet cut")
	g.kubectl(t, 1, "delete node srv-4")
}

// checkResetAlone: the worker cannot reach its cluster. The control planes go one after the other; the last has no cluster that it
// could leave.
func checkResetAlone(t *testing.T, g group, hosts [5][]string) {
	checkResetCutOff(t, g)
	g.must(t, 3, "slipway reset")
	g.must(t, 2, "slipway reset")
	g.must(t, 1, "slipway reset && umount /var/lib/containerd") // see checkDiskFull
	for i := 1; i <= 4; i++ {
		g.sameHost(t, i, hosts[i], auditLog, " /run/mount ") // which mount made in checkDiskFull
	}
	if out := g.must(t, 1, "nft list table inet admins; iptables -S INPUT; cat /etc/cni/net.d/05-admins.conflist"); !strings.Contains(out, "12345") ||
		!strings.Contains(out, "12346") || !strings.Contains(out, "admins") {
		t.Errorf("what the administrator had: %s", out)
	}
}

func checkResetNothing(t *testing.T, g group, host []string) {
	g.fails(t, 1, "slipway reset", "not-a-node")
	g.sameHost(t, 1, host, auditLog, " /run/mount ")
}
