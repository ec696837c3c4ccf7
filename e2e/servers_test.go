package e2e_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// auditLog outlives the node on purpose.
const auditLog = "/var/log/kubernetes"

// admins is what an administrator has on a server, and must find again.
const admins = `
nft add table inet admins
nft 'add chain inet admins input { type filter hook input priority 10; }'
nft add rule inet admins input tcp dport 12345 drop
iptables -A INPUT -p tcp --dport 12346 -j DROP
echo "192.0.2.77 printer" >> /etc/hosts
mkdir -p /etc/cni/net.d /etc/kubernetes
echo '{"cniVersion": "1.0.0", "name": "admins", "plugins": [{"type": "loopback"}]}' > /etc/cni/net.d/05-admins.conflist
chmod 640 /etc/cni/net.d/05-admins.conflist
echo mine > /etc/kubernetes/notes
echo "net.ipv4.ip_forward = 0" > /etc/sysctl.d/50-admins.conf
`

const initCommand = "slipway init --bundle /media/bundle --upload-certs"

// TestServers makes a cluster of three control planes and a worker by hand, as an administrator would who is logged in on
// each server, and takes it apart again.
func TestServers(t *testing.T) {
	need(t)
	before := takeInventory(t)
	g := launchMachines(t, "srv", 4)
	g.must(t, 1, admins)
	g.must(t, 2, admins)
	var hosts [5][]string
	for i := 1; i <= 4; i++ {
		hosts[i] = g.inventory(t, i)
	}
	var join joinCommands
	for _, step := range []struct {
		name  string
		run   func(*testing.T)
		fatal bool
	}{
		{"bare", func(t *testing.T) { checkBare(t, g) }, false},
		{"dry run", func(t *testing.T) { checkDryRun(t, g, hosts[1]) }, false},
		{"bad calls", func(t *testing.T) { checkBadCalls(t, g, hosts[1]) }, false},
		{"disk full", func(t *testing.T) { checkDiskFull(t, g) }, true},
		{"init", func(t *testing.T) { join = checkInit(t, g) }, true},
		{"init again", func(t *testing.T) { checkInitAgain(t, g) }, false},
		{"refused", func(t *testing.T) { checkRefused(t, g, join, hosts[4]) }, false},
		{"join at the same moment", func(t *testing.T) { checkJoin(t, g, join) }, true},
		{"commands", func(t *testing.T) { checkServerCommands(t, g) }, false},
		{"plan", func(t *testing.T) { checkPlan(t, g) }, false},
		{"name taken", func(t *testing.T) { checkNodeName(t, g, join) }, false},
		{"secrets", func(t *testing.T) { checkServerSecrets(t, g, join) }, false},
		{"reset a control plane and a worker", func(t *testing.T) { checkResetMembers(t, g, hosts[3], hosts[4]) }, true},
		{"expired", func(t *testing.T) { checkExpired(t, g, join, hosts[3]) }, false},
		{"join again", func(t *testing.T) { checkJoinAgain(t, g, join) }, true},
		{"reset without a cluster", func(t *testing.T) { checkResetAlone(t, g, hosts) }, true},
		{"reset of nothing", func(t *testing.T) { checkResetNothing(t, g, hosts[1]) }, false},
	} {
		if !t.Run(step.name, step.run) && step.fatal {
			t.FailNow()
		}
	}
	slipway(t, "down", g.name)
	before.compare(t, takeInventory(t))
}

// checkDryRun: what would be changed is listed, and nothing is.
func checkDryRun(t *testing.T, g group, host []string) {
	for _, command := range []string{initCommand + " --dry-run", "slipway plan --bundle /media/bundle"} {
		out := g.must(t, 1, command)
		for _, want := range []string{
			"/etc/kubernetes/pki/ca.key", "net.ipv4.ip_forward: 0 -> 1", "start kubelet.service", "set aside /etc/cni/net.d/05-admins.conflist",
			"apply calico",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not say %q:\n%s", command, want, out)
			}
		}
	}
	out := g.must(t, 1, initCommand+" --dry-run --skip coredns")
	if strings.Contains(out, "\ncoredns\n") || strings.Contains(out, "\ncoredns-ready\n") || !strings.Contains(out, "\ncalico-ready\n") {
		t.Errorf("without CoreDNS: %s", out)
	}
	g.sameHost(t, 1, host)
}

// checkBare: a server has nothing of the bundle's programs.
func checkBare(t *testing.T, g group) {
	for i := 1; i <= g.count; i++ {
		g.must(t, i, `for program in containerd runc kubelet kubectl kubeadm etcd etcdctl; do
			! command -v $program || exit 1
		done
		test -z "$(ls /opt/cni/bin)" && ! pgrep containerd && test "$(ls /usr/local/bin)" = slipway`)
	}
}

// fails runs a command that must be refused, with these identifiers and no others.
func (g group) fails(t *testing.T, i int, script string, want ...string) {
	t.Helper()
	r := g.on(t, i, script)
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^error\[([a-z-]+)\]`).FindAllStringSubmatch(r.stderr, -1) {
		got = append(got, m[1])
	}
	if r.code == 0 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("on %s: exit code %d, errors %v, want %v: %v", g.machine(i), r.code, got, want, r)
	}
}

const someToken = "--token abcdef.0123456789abcdef"

// checkBadCalls: all that is wrong is said at once, and nothing is written.
func checkBadCalls(t *testing.T, g group, host []string) {
	g.fails(t, 1, "slipway init --bundle /media/bundle --pod-cidr 10.96.0.0/16 --cni nothing", "option-invalid", "option-invalid")
	g.fails(t, 1, "slipway init --bundle /media/bundle --skip nonsense --dry-run", "step-unknown")
	g.fails(t, 1, "slipway init --bundle /media/nothing", "bundle-missing")
	g.fails(t, 1, "slipway init --bundle /media/bundle --ignore-preflight nonsense", "preflight-unknown")
	g.fails(t, 1, "slipway join --token ABC --discovery-token-ca-cert-hash md5:1 192.0.2.1:6443", "token-invalid", "ca-hash-invalid")
	g.fails(t, 1, "slipway join 192.0.2.1:6443 --control-plane "+someToken, "option-invalid")
	g.sameHost(t, 1, host)
	// A port that is taken, and files of another installation, at once.
	const tidy = "rm /etc/kubernetes/kubelet.conf; systemctl stop taken.socket; rm /run/systemd/system/taken.*; systemctl daemon-reload"
	g.must(t, 1, `printf '[Socket]\nListenStream=6443\n' > /run/systemd/system/taken.socket
		printf '[Service]\nExecStart=/bin/true\n' > /run/systemd/system/taken.service
		systemctl daemon-reload && systemctl start taken.socket && touch /etc/kubernetes/kubelet.conf`)
	g.fails(t, 1, initCommand, "preflight-ports", "preflight-leftovers")
	g.must(t, 1, tidy)
	g.sameHost(t, 1, host)
}

// checkDiskFull: the disk fills while images are imported. What was done stays, and init goes on when there is room.
func checkDiskFull(t *testing.T, g group) {
	g.must(t, 1, "mount -t tmpfs -o size=64M tmpfs /var/lib/containerd")
	g.fails(t, 1, initCommand, "preflight-disk")
	r := g.on(t, 1, initCommand+" --ignore-preflight disk")
	if r.code != 1 || !strings.Contains(r.stderr, "images") || !strings.Contains(r.stderr, "no space left") {
		t.Fatalf("with a full disk: %v", r)
	}
	g.must(t, 1, "mount -o remount,size=6G /var/lib/containerd")
}

// joinCommands are what init printed.
type joinCommands struct {
	worker, controlPlane string
	token, key           string
}

func checkInit(t *testing.T, g group) joinCommands {
	r := g.on(t, 1, initCommand)
	if r.code != 0 {
		t.Fatal(r)
	}
	t.Log(r.stderr)
	found := regexp.MustCompile(`(?m)^ +(slipway join .*)$`).FindAllStringSubmatch(r.stdout, -1)
	if len(found) != 2 {
		t.Fatalf("%d join commands: %v", len(found), r)
	}
	const bundle = " --bundle /media/bundle"
	c := joinCommands{worker: found[0][1] + bundle, controlPlane: found[1][1] + bundle}
	c.token = regexp.MustCompile(`--token \w+\.(\w+)`).FindStringSubmatch(c.worker)[1]
	c.key = regexp.MustCompile(`--certificate-key (\w+)`).FindStringSubmatch(c.controlPlane)[1]
	checkServers(t, g, 1)
	return c
}

// checkServers wants so many nodes, all ready, and every pod in order.
func checkServers(t *testing.T, g group, want int) {
	t.Helper()
	checkServersWithin(t, g, want, time.Minute)
}

func checkServersWithin(t *testing.T, g group, want int, limit time.Duration) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d nodes are ready", want), limit, func() error {
		out := strings.Fields(g.kubectl(t, 1, `get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'`))
		if len(out) != want || strings.Count(strings.Join(out, " "), "True") != want {
			return fmt.Errorf("they say %q", out)
		}
		return nil
	})
	eventually(t, "all pods are ready", limit, func() error {
		out := g.kubectl(t, 1, `get pods -A -o 'jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'`)
		for line := range strings.Lines(out) {
			if !strings.HasSuffix(strings.TrimSpace(line), "=True") {
				return fmt.Errorf("not ready: %s", line)
			}
		}
		return nil
	})
}

func checkInitAgain(t *testing.T, g group) {
	before := g.inventory(t, 1)
	if out := g.must(t, 1, initCommand); !strings.Contains(out, "nothing was changed") {
		t.Errorf("it says %q", out)
	}
	after := g.inventory(t, 1)
	for i, section := 0, ""; i < min(len(before), len(after)); i++ {
		if strings.HasPrefix(before[i], "== ") {
			section = before[i]
		}
		if section == "== content" && before[i] != after[i] && !strings.Contains(before[i], "/var/lib/") {
			t.Errorf("%q became %q", before[i], after[i])
		}
	}
}

// checkRefused: a cluster that is not the one that was meant, or cannot be reached, is found out before anything is written.
func checkRefused(t *testing.T, g group, join joinCommands, host []string) {
	hash := regexp.MustCompile(`sha256:\w+`)
	g.fails(t, 4, hash.ReplaceAllString(join.worker, "sha256:"+strings.Repeat("0", 64)), "ca-hash-mismatch")
	g.fails(t, 4, strings.Replace(join.worker, join.token, strings.Repeat("x", 16), 1), "token-wrong")
	g.fails(t, 4, strings.Replace(join.controlPlane, join.key, strings.Repeat("0", 64), 1), "certificate-key-wrong")
	g.fails(t, 4, regexp.MustCompile(`--discovery-token-ca-cert-hash \S+`).ReplaceAllString(join.worker, ""), "ca-hash-missing")
	g.fails(t, 4, regexp.MustCompile(`join \S+`).ReplaceAllString(join.worker, "join 127.0.0.1:22")+" --wait 10s", "endpoint-not-kubernetes")
	g.fails(t, 4, regexp.MustCompile(`join \S+`).ReplaceAllString(join.worker, "join 127.0.0.1:1")+" --wait 3s", "endpoint-unreachable")
	g.fails(t, 4, join.worker+" --node-name srv-1", "node-name-taken")
	g.fails(t, 4, "slipway join --discovery-file /etc/hostname --bundle /media/bundle "+someToken, "discovery-file-invalid")
	for _, command := range []string{join.worker, join.controlPlane} {
		if out := g.must(t, 4, command+" --dry-run"); !strings.Contains(out, "/etc/kubernetes/pki/ca.crt: none ->") || !strings.Contains(out, "start kubelet.service") {
			t.Errorf("%s --dry-run says %s", command, out)
		}
	}
	g.sameHost(t, 4, host)
}

func checkJoin(t *testing.T, g group, join joinCommands) {
	// A control plane that died before it got its vote. etcd has room for one such member only.
	g.must(t, 1, etcdctl+"member add ghost --learner --peer-urls=https://192.0.2.99:2380")
	g.together(t, map[int]string{2: join.controlPlane, 3: join.controlPlane, 4: join.worker})
	checkServers(t, g, 4)
	checkEtcd(t, g, 3)
	if got := strings.Fields(g.kubectl(t, 1, "get nodes -l node-role.kubernetes.io/control-plane -o name")); len(got) != 3 {
		t.Errorf("control planes: %v", got)
	}
	checkBalancers(t, g, 4, 3)
}

// checkBalancers wants the load balancers of the first nodes to know so many API servers.
func checkBalancers(t *testing.T, g group, nodes, want int) {
	t.Helper()
	for i := 1; i <= nodes; i++ {
		eventually(t, "the load balancer knows all API servers", 30*time.Second, func() error {
			if out := g.must(t, i, "cat /var/lib/slipway/api-servers.json"); strings.Count(out, ":6443") != want {
				return fmt.Errorf("%s knows %s", g.machine(i), out)
			}
			return nil
		})
	}
}

// etcdctl asks a control plane's own member of etcd.
const etcdctl = "etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt " +
	"--cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key "

// checkEtcd wants so many members, all of them with a vote and healthy.
func checkEtcd(t *testing.T, g group, want int) {
	t.Helper()
	out := g.must(t, 1, etcdctl+"member list")
	if strings.Count(out, ", started, ") != want || strings.Count(out, ", false") != want {
		t.Errorf("members, of which there should be %d:\n%s", want, out)
	}
	if out := g.must(t, 1, etcdctl+"endpoint health --cluster 2>&1"); strings.Count(out, "is healthy") != want {
		t.Errorf("health of %d members:\n%s", want, out)
	}
}

// checkServerCommands runs what an administrator asks a server, on a control plane and on the worker.
func checkServerCommands(t *testing.T, g group) {
	for _, i := range []int{1, 4} {
		if out := g.must(t, i, "slipway status"); !strings.Contains(out, g.machine(i)) {
			t.Errorf("status: %s", out)
		}
		g.must(t, i, "slipway doctor")
		g.must(t, i, "slipway certs check")
	}
	// A kubelet that does not run is found, and named.
	g.must(t, 4, "systemctl stop kubelet")
	if r := g.on(t, 4, "slipway doctor"); r.code != 1 || !strings.Contains(r.stdout+r.stderr, "kubelet.service") {
		t.Errorf("doctor without a kubelet: %v", r)
	}
	g.must(t, 4, "systemctl start kubelet")
	// Everything runs with new certificates, and the old ones are gone.
	before := g.must(t, 2, "cd /etc/kubernetes && sha256sum pki/*.crt pki/etcd/*.crt *.conf")
	g.must(t, 2, "slipway certs renew all")
	after := g.must(t, 2, "cd /etc/kubernetes && sha256sum pki/*.crt pki/etcd/*.crt *.conf")
	for line := range strings.Lines(before) {
		name := strings.Fields(line)[1]
		if authority := strings.HasSuffix(name, "ca.crt"); strings.Contains(after, line) != authority && name != "kubelet.conf" {
			t.Errorf("%s is the same: %v", name, !authority)
		}
	}
	checkServers(t, g, 4)
	checkEtcd(t, g, 3)
	token := strings.TrimSpace(g.must(t, 3, "slipway token create --ttl 10m --description test"))
	id, _, _ := strings.Cut(token, ".")
	if out := g.must(t, 1, "slipway token list"); !strings.Contains(out, id) || strings.Contains(out, token) {
		t.Errorf("token list: %s", out)
	}
	g.must(t, 1, "slipway token delete "+id)
	g.fails(t, 1, "slipway token delete "+id, "token-unknown")
}

// checkPlan: nothing differs on nodes that nobody has changed, and what somebody changes is found, on the host as in the cluster.
func checkPlan(t *testing.T, g group) {
	const nothing = "nothing would be changed\n"
	for i := 1; i <= g.count; i++ {
		if out := g.must(t, i, "slipway plan"); out != nothing {
			t.Errorf("on %s: %s", g.machine(i), out)
		}
	}
	const policy = "/etc/kubernetes/apiserver/audit-policy.yaml"
	g.must(t, 1, "chmod 644 "+policy)
	was := g.kubectl(t, 1, "-n kube-system get configmap coredns -o yaml | grep -v resourceVersion")
	g.kubectl(t, 1, `-n kube-system patch configmap coredns --type merge -p '{"data":{"Corefile":"# nothing"}}'`)
	out := g.must(t, 1, "slipway plan")
	for _, want := range []string{policy, "apply ConfigMap/kube-system/coredns: differs in data.Corefile"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not say %q:\n%s", want, out)
		}
	}
	g.must(t, 1, "chmod 600 "+policy)
	g.kubectl(t, 1, "replace -f - <<'END'\n"+was+"END")
}

func checkNodeName(t *testing.T, g group, join joinCommands) {
	g.fails(t, 4, join.worker+" --node-name srv-1", "node-already")
}

// checkServerSecrets looks for the token, the certificate key and the authority's key where others could read them.
func checkServerSecrets(t *testing.T, g group, join joinCommands) {
	for i := 1; i <= 4; i++ {
		ca := ""
		if i < 4 {
			ca = strings.TrimSpace(g.must(t, i, "sed -n 2p /etc/kubernetes/pki/ca.key"))
		}
		for what, secret := range map[string]string{"token": join.token, "certificate key": join.key, "authority's key": ca} {
			if secret == "" {
				continue
			}
			// The shell of this very test has the secret in its arguments; it gets it on standard input instead.
			r := invocation{
				args: []string{"ssh", g.name, g.machine(i), "--", "sh", "-c", `read -r secret
					grep -lsF -- "$secret" /proc/[0-9]*/cmdline /proc/[0-9]*/environ
					journalctl --no-pager | grep -cF -- "$secret" | grep -v '^0$'
					find / -xdev -type f -perm /044 -size -2M -not -path '/proc/*' -not -path '/sys/*' -print0 2>/dev/null |
						xargs -0 grep -lsF -- "$secret" | grep -v '^/proc'
					true`},
				stdin: strings.NewReader(secret + "\n"),
			}.run(t)
			if out := strings.TrimSpace(r.stdout); r.code != 0 || out != "" {
				t.Errorf("%s: the %s can be read in: %s%s", g.machine(i), what, out, r.stderr)
			}
		}
	}
	if out := g.must(t, 1, "stat -c '%a %n' /var/lib/slipway /var/lib/slipway/journal.jsonl /var/lib/slipway/node.json"); out !=
		"700 /var/lib/slipway\n600 /var/lib/slipway/journal.jsonl\n600 /var/lib/slipway/node.json\n" {
		t.Errorf("modes: %s", out)
	}
	if out := g.must(t, 1, "cat /var/lib/slipway/node.json"); strings.Contains(out, join.token) || strings.Contains(out, `"data"`) {
		t.Error("what the server keeps of itself still has secrets in it")
	}
}
