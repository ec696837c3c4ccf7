package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/internal/testenv"
)

// ownContainerd is how an administrator installs a containerd, and runs a container in it. The file $config has his configuration.
const ownContainerd = `set -e
cd /media/share/own
install -m 755 usr/local/bin/containerd usr/local/bin/containerd-shim-runc-v2 usr/local/bin/ctr usr/local/sbin/runc /usr/bin/
mkdir -p /etc/containerd
containerd config default | sed "$change" > /etc/containerd/config.toml
cat > /etc/systemd/system/containerd.service <<'UNIT'
[Unit]
Description=the containerd of the administrator
After=network.target
[Service]
Type=notify
ExecStart=/usr/bin/containerd
Delegate=yes
KillMode=process
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now containerd 2>/dev/null
ctr images import /media/share/echo.tar
ctr run -d --net-host ` + echoImage + ` admins
`

// fitting is what the configuration must be changed in to fit here, and one thing that a node must learn from it.
const fitting = `change='s/restrict_oom_score_adj = false/restrict_oom_score_adj = true/; s#registry.k8s.io/pause:.*\x27#registry.test/admins/pause:1\x27#'
`

const unfitting = `change="s/disabled_plugins = \[\]/disabled_plugins = ['io.containerd.grpc.v1.cri']/"
`

// runtimeState is what the administrator sees of his containerd. It is to be the same after a reset, down to the processes.
const runtimeState = `systemctl is-enabled containerd; systemctl is-active containerd
cat /etc/containerd/config.toml /etc/systemd/system/containerd.service
sha256sum /usr/bin/containerd /usr/bin/ctr /usr/bin/runc
for ns in default k8s.io; do
	ctr -n $ns tasks ls; ctr -n $ns containers ls; ctr -n $ns images ls | tr -s ' ' | cut -d' ' -f1,3; ctr -n $ns leases ls -q
	ctr -n $ns content ls -q | sort; ctr -n $ns snapshots ls | sort
done
pgrep -a containerd-shim || true
`

// untouched is what is also the same while a node uses it.
const untouched = `systemctl show -p MainPID --value containerd
sha256sum /etc/containerd/config.toml /etc/systemd/system/containerd.service
ctr tasks ls
`

// itsOwn is what a containerd changes by itself when it has images and pods in it: its databases, and directories that stay,
// empty, when the last pod has gone.
var itsOwn = []string{
	"/meta.db", "/metadata.db", "/run/containerd/runc/k8s.io ", "/io.containerd.runtime.v2.task/k8s.io ",
	"/io.containerd.grpc.v1.cri ", "/io.containerd.grpc.v1.cri/containers ", "/io.containerd.grpc.v1.cri/sandboxes ",
}

// TestServersOwnRuntime: a containerd that the administrator has is used where it fits, and nobody notices; where it does not, it
// is only set aside with his knowledge, and comes back.
func TestServersOwnRuntime(t *testing.T) {
	need(t)
	before := takeInventory(t)
	g := launchMachines(t, "rt", 2)
	shareContainerd(t, g)
	g.must(t, 1, admins+fitting+ownContainerd+takesName(t))
	g.must(t, 2, unfitting+ownContainerd)
	hosts := [3][]string{1: g.inventory(t, 1), 2: g.inventory(t, 2)}
	state := g.must(t, 1, untouched+runtimeState)
	var join joinCommands
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"used", func(t *testing.T) { join = checkUsed(t, g) }},
		{"refused", func(t *testing.T) {
			g.fails(t, 2, join.worker, "preflight-runtime")
			g.fails(t, 2, prepareCommand, "preflight-runtime")
			g.sameHost(t, 2, hosts[2])
		}},
		{"set aside with a container in it", func(t *testing.T) {
			checkSetAside(t, g, join.worker+" --ignore-preflight runtime", hosts[2])
		}},
		{"set aside", func(t *testing.T) {
			// The last leaves control groups behind, which systemd clears away in its own time.
			// containerd removes the container's files some time later, unless somebody waits for a lease to end.
			g.must(t, 2, `ctr tasks kill -s KILL admins && ctr tasks delete admins; ctr containers delete admins
				find /sys/fs/cgroup -depth -type d -name default -exec rmdir {} +
				ctr leases create --id wait && ctr leases delete --sync wait`)
			checkSetAside(t, g, join.worker, g.inventory(t, 2))
		}},
		{"reset", func(t *testing.T) { checkUsedReset(t, g, hosts[1], state) }},
		{"prepare", func(t *testing.T) {
			g.must(t, 1, prepareCommand+" && ! ls /usr/local/bin/containerd && kubeadm version")
			checkUsedReset(t, g, hosts[1], state)
		}},
	} {
		if !t.Run(step.name, step.run) {
			t.FailNow()
		}
	}
	slipway(t, "down", g.name)
	before.compare(t, takeInventory(t))
}

// shareContainerd puts what an administrator would download where the servers see it.
func shareContainerd(t *testing.T, g group) {
	t.Helper()
	for _, component := range []string{"containerd", "runc"} {
		if err := testenv.NeedBundle(t).Extract(component, filepath.Join(g.share, "own")); err != nil {
			t.Fatal(err)
		}
	}
	buildEcho(t, filepath.Join(g.share, "echo.tar"))
}

// takesName has the administrator give an image of his the name of one that the node needs.
func takesName(t *testing.T) string {
	t.Helper()
	set, err := pins.For("")
	if err != nil {
		t.Fatal(err)
	}
	return `ctr -n k8s.io images import /media/share/echo.tar
		ctr -n k8s.io images tag ` + echoImage + ` ` + set.Images()["coredns"] + `
		ctr -n k8s.io images delete ` + echoImage + `
	`
}

func checkUsed(t *testing.T, g group) joinCommands {
	before := g.must(t, 1, untouched)
	join := checkInit(t, g)
	sameState(t, before, g.must(t, 1, untouched))
	g.must(t, 1, "! ls /usr/local/bin/containerd /usr/local/sbin/runc 2>&1")
	if out := g.must(t, 1, "slipway doctor"); !strings.Contains(out, "which was here before") {
		t.Errorf("doctor says %s", out)
	}
	return join
}

// checkSetAside joins and resets: what the administrator had is as it was, and a container in it never ended.
func checkSetAside(t *testing.T, g group, join string, host []string) {
	const processes = "pgrep -x echo || true"
	state, container := g.must(t, 2, runtimeState), g.must(t, 2, processes)
	g.must(t, 2, join)
	checkServers(t, g, 2)
	if now := g.must(t, 2, processes); now != container {
		t.Errorf("the container was process %q, and is %q", container, now)
	}
	g.must(t, 2, "systemctl cat containerd | grep -qx ExecStart=/usr/local/bin/containerd && slipway doctor")
	g.must(t, 2, "slipway reset")
	g.sameHost(t, 2, host)
	sameState(t, state, g.must(t, 2, runtimeState))
	if now := g.must(t, 2, processes); now != container {
		t.Errorf("the container was process %q, and is %q", container, now)
	}
}

func sameState(t *testing.T, before, after string) {
	t.Helper()
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) {
			t.Errorf("gone: %s", line)
		}
	}
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) {
			t.Errorf("left behind: %s", line)
		}
	}
}

// checkUsedReset: the cluster has gone from the containerd that it used, which has not noticed.
func checkUsedReset(t *testing.T, g group, host []string, state string) {
	g.must(t, 1, "slipway reset")
	sameState(t, state, g.must(t, 1, untouched+runtimeState))
	g.sameHost(t, 1, host, append(itsOwn, auditLog)...)
}
