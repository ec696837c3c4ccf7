package local_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

func TestMachine(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	h.ensure(t, network("lt-life", 0))
	key, signer := clientKey(t)
	spec := h.spec("lt-life", "one", 2)
	spec.AuthorizedKey = key
	spec.Labels = map[string]string{"role": "first"}
	spec.Hosts = map[string]netip.Addr{"two": netip.MustParseAddr("10.91.0.3")}
	spec.OnLink = []netip.Prefix{netip.MustParsePrefix("10.93.0.0/16")}
	spec.Binds = []local.Bind{{Source: "data", Target: "/var/lib/thing"}}
	m := h.create(t, spec)

	t.Run("identity", func(t *testing.T) { testIdentity(t, m) })
	t.Run("run", func(t *testing.T) { testRun(t, m) })
	t.Run("cancel", func(t *testing.T) { testCancel(t, m) })
	t.Run("put", func(t *testing.T) { testPut(t, m) })
	t.Run("bind", func(t *testing.T) { testBind(t, m) })
	t.Run("propagation", func(t *testing.T) { testPropagation(t, m) })
	t.Run("cgroups", func(t *testing.T) { testCgroups(t, m) })
	t.Run("ssh", func(t *testing.T) { testSSH(t, m, signer) })
	t.Run("again", func(t *testing.T) { testAgain(t, h, m, spec) })
	t.Run("list", func(t *testing.T) { testList(t, h, m) })

	h.down(t, "lt-life", "one")
	before.compare(t, takeTraces(t, h))
	h.down(t, "lt-life", "one") // nothing there is no error
}

func testIdentity(t *testing.T, m *local.Machine) {
	t.Helper()
	for script, want := range map[string]string{
		"systemctl is-system-running": "running",
		"hostname":                    "one",
		"cat /etc/hostname":           "one",
		"getent hosts two":            "10.91.0.3       two",
		"grep -c nameserver /etc/resolv.conf || true": "0",
		"wc -c </etc/machine-id":                      "33",
		"ip -4 -o -br address show eth0 | tr -s ' '":  "eth0@if" + peerIndex(t, m) + " UP 10.91.0.2/24",
		"ip route show default":                       "",
		"ip route show 10.93.0.0/16":                  "10.93.0.0/16 dev eth0 scope link",
		"ls /etc/ssh/ssh_host_*_key":                  "/etc/ssh/ssh_host_ed25519_key",
		"ip -6 -o address show dev eth0":              "",
		"test -c /dev/kmsg && echo yes":               "yes",
	} {
		if got := strings.TrimSpace(shell(t, m, script)); got != want {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
}

func peerIndex(t *testing.T, m *local.Machine) string {
	t.Helper()
	return shell(t, m, "ip -o link show eth0 | sed 's/.*@if\\([0-9]*\\):.*/\\1/'")
}

func testRun(t *testing.T, m *local.Machine) {
	t.Helper()
	var out, stderr bytes.Buffer
	in := strings.Repeat("round trip\n", 100_000)
	err := m.Run(t.Context(), local.Command{Args: []string{"cat"}, Stdin: strings.NewReader(in), Stdout: &out})
	if err != nil || out.String() != in {
		t.Errorf("got %d bytes of %d, %v", out.Len(), len(in), err)
	}

	err = m.Run(t.Context(), local.Command{Args: []string{"sh", "-c", "echo lost >&2; exit 7"}, Stderr: &stderr})
	var exit *local.ExitError
	if !errors.As(err, &exit) || exit.Code != 7 || exit.Stderr != "lost\n" || stderr.String() != "lost\n" {
		t.Errorf("got %v, stderr %q", err, stderr.String())
	}

	err = m.Run(t.Context(), local.Command{Args: []string{"no-such-program"}})
	if err == nil || errors.As(err, &exit) || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("a program that is not there: got %v", err)
	}

	blocked, _ := io.Pipe() // nobody ever writes
	if err := m.Run(t.Context(), local.Command{Args: []string{"true"}, Stdin: blocked}); err != nil {
		t.Errorf("with a reader that blocks: %v", err)
	}
}

func testCancel(t *testing.T, m *local.Machine) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- m.Run(ctx, local.Command{Args: []string{"sh", "-c", "echo on; sleep 4321 & wait"}, Stdout: w})
	}()
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := shell(t, m, "pgrep -f '[s]leep 4321' || echo none"); got != "none" {
		t.Errorf("still runs: %s", got)
	}
}

func testPut(t *testing.T, m *local.Machine) {
	t.Helper()
	for _, path := range []string{"/etc/deep/er/file", "/run/file", "/var/lib/thing/put"} {
		if err := m.Put(t.Context(), path, 0o640, strings.NewReader("content")); err != nil {
			t.Fatal(err)
		}
		if got := shell(t, m, "stat -c %a "+path+"; cat "+path); got != "640\ncontent" {
			t.Errorf("%s: got %q", path, got)
		}
	}
	if err := m.Put(t.Context(), "/../../../../etc/deep/outside", 0o600, strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/etc/deep"); err == nil {
		t.Error("written outside of the machine")
	}
}

func testBind(t *testing.T, m *local.Machine) {
	t.Helper()
	shell(t, m, "echo from-inside >/var/lib/thing/file")
	data, err := os.ReadFile(filepath.Join(m.Dir(), "data", "file"))
	if err != nil || string(data) != "from-inside\n" {
		t.Errorf("got %q, %v", data, err)
	}
}

// testPropagation mounts where kubelet would, and looks for it in another mount namespace inside,
// as a pod has one, and on the computer outside.
func testPropagation(t *testing.T, m *local.Machine) {
	t.Helper()
	before := strings.Join(mounts(t), "\n")
	out := shell(t, m, `
		mkdir -p /var/lib/thing/volume && mkfifo /tmp/go /tmp/on
		unshare --mount --propagation slave sh -c 'echo on >/tmp/on; read x </tmp/go
			for d in /var/lib/thing/volume /mnt; do findmnt -n -o FSTYPE $d; done' >/tmp/out &
		read x </tmp/on
		mount -t tmpfs none /var/lib/thing/volume && mount -t tmpfs none /mnt
		echo go >/tmp/go; wait; cat /tmp/out; rm /tmp/go /tmp/on`)
	if out != strings.Join([]string{"tmpfs", "tmpfs"}, "\n") {
		t.Errorf("seen inside: %q", out)
	}
	if after := strings.Join(mounts(t), "\n"); after != before {
		t.Errorf("mounts on this computer:\nbefore %s\nafter %s", before, after)
	}
}

// testCgroups makes groups inside, as kubelet does; Delete must remove them.
func testCgroups(t *testing.T, m *local.Machine) {
	t.Helper()
	shell(t, m, `for d in $(findmnt -rn -t cgroup,cgroup2 -o TARGET); do mkdir -p $d/kubepods/burstable/pod; done`)
	for _, dir := range find(t, "/sys/fs/cgroup", "-type", "d", "-name", "kubepods") {
		if !strings.Contains(dir, "/slipway/") {
			t.Errorf("a group outside of the machine's subtree: %s", dir)
		}
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || strings.Contains(string(data), "slipway") {
		t.Errorf("this process is in a machine's group: %s %v", data, err)
	}
}

func clientKey(t *testing.T) (string, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(signer.PublicKey())), signer
}

func testSSH(t *testing.T, m *local.Machine, signer ssh.Signer) {
	t.Helper()
	for _, address := range []string{"127.0.0.1:22", "10.91.0.2:22"} {
		conn, err := m.Dial(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := login(t, conn, m, signer); got != "one\n" {
			t.Errorf("%s: got %q", address, got)
		}
	}
	conn, err := net.Dial("tcp", "10.91.0.2:22") // through the bridge
	if err != nil {
		t.Fatal(err)
	}
	login(t, conn, m, signer)
}

func login(t *testing.T, conn net.Conn, m *local.Machine, signer ssh.Signer) string {
	t.Helper()
	c, channels, requests, err := ssh.NewClientConn(conn, m.Name(), &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(m.HostKey()), Timeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.Output("hostname")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func testAgain(t *testing.T, h *host, m *local.Machine, spec local.MachineSpec) {
	t.Helper()
	spec.Hosts = nil // the others may be others by now
	again := h.create(t, spec)
	if again.Pid() != m.Pid() || !bytes.Equal(again.HostKey().Marshal(), m.HostKey().Marshal()) {
		t.Errorf("another machine: pid %d, not %d", again.Pid(), m.Pid())
	}
	spec.Address = spec.Address.Next()
	_, err := h.Create(t.Context(), spec)
	wantFault(t, err, "machine-differs")
	h.ensure(t, network("lt-life", 0))
	wantFault(t, h.EnsureNetwork(t.Context(), network("lt-life", 1)), "network-differs")
}

func testList(t *testing.T, h *host, m *local.Machine) {
	t.Helper()
	for _, cluster := range []string{"", "lt-life"} {
		list, err := h.List(t.Context(), cluster)
		if err != nil || len(list) != 1 {
			t.Fatalf("got %v, %v", list, err)
		}
		got := list[0]
		if got.Name() != "one" || !got.Running() || got.Pid() != m.Pid() || got.Address() != m.Address() || got.Labels()["role"] != "first" {
			t.Errorf("got %+v", got)
		}
	}
	if list, err := h.List(t.Context(), "other"); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
}

func wantFault(t *testing.T, err error, ids ...string) {
	t.Helper()
	all := fault.All(err)
	if len(all) != len(ids) {
		t.Fatalf("got %v, want faults %q", err, ids)
	}
	for i, f := range all {
		if f.ID != ids[i] || f.Next == "" {
			t.Errorf("got fault %q (%v), want %q", f.ID, f, ids[i])
		}
	}
}

func TestMachinesAtTheSameTime(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	h.ensure(t, network("lt-many", 0))
	names := []string{"a", "b", "c"}
	machines := make([]*local.Machine, len(names))
	start := time.Now()
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			var err error
			if machines[i], err = h.Create(t.Context(), h.spec("lt-many", name, byte(i+2))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Log("made 3 in", time.Since(start).Round(time.Millisecond))
	for _, from := range machines {
		for _, to := range machines {
			conn, err := from.Dial(t.Context(), "tcp", netip.AddrPortFrom(to.Address(), 22).String())
			if err != nil {
				t.Errorf("%s to %s: %v", from.Name(), to.Name(), err)
				continue
			}
			conn.Close()
		}
	}
	start = time.Now()
	for _, name := range names {
		wg.Go(func() {
			if err := h.Delete(t.Context(), "lt-many", name); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	t.Log("deleted 3 in", time.Since(start).Round(time.Millisecond))
	h.down(t, "lt-many")
	before.compare(t, takeTraces(t, h))
}
