package preflight_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/internal/testenv"
)

// runtimeRoot is short, as a socket's name has to be, and has the socket's directory.
func runtimeRoot(t *testing.T) (root, socket string) {
	t.Helper()
	root, err := os.MkdirTemp("", "sw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	dir := filepath.Join(root, "run/containerd")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return root, filepath.Join(dir, "containerd.sock")
}

func TestRuntimeUnits(t *testing.T) {
	root, socket := runtimeRoot(t)
	with := func(active ...string) preflight.Facts {
		return preflight.Facts{Root: root, ActiveUnits: units(active...)}
	}
	expect(t, look(t, "runtime", with()))
	expect(t, look(t, "runtime", with("docker.service", "crio.service")), problem("docker.service"), problem("crio.service"))
	expect(t, look(t, "runtime", with("containerd.service")), problem("cannot be asked"))

	// A socket that its daemon has left.
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	expect(t, look(t, "runtime", with()))
	expect(t, look(t, "runtime", with("containerd.service")), problem("cannot be asked"))
	resuming := with("containerd.service", "docker.service")
	resuming.Resuming = true
	expect(t, look(t, "runtime", resuming))
}

// fitting is a configuration that a node can use on this computer.
func fitting() string {
	return fmt.Sprintf("disabled_plugins = []\n[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n"+
		"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n"+
		"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nSystemdCgroup = %t\n", cri.Driver() == "systemd")
}

func TestRuntimeContainerd(t *testing.T) {
	needRoot(t)
	bundle := testenv.NeedBundle(t)
	files := t.TempDir()
	if err := bundle.Extract("containerd", files); err != nil {
		t.Fatal(err)
	}
	const images = "[plugins.'io.containerd.cri.v1.images']\n"
	changed := func(old, with string) string { return strings.Replace(fitting(), old, with, 1) }
	for name, c := range map[string]struct {
		config string
		want   want
	}{
		"fits":           {fitting(), warned("the node uses it as it is")},
		"without CRI":    {"disabled_plugins = ['io.containerd.grpc.v1.cri']\n", warned("set aside until a reset, because its CRI plugin does not run: it is disabled")},
		"cgroup driver":  {changed("SystemdCgroup = ", "SystemdCgroup = !"), warned("its cgroup driver is")},
		"no runc":        {changed("io.containerd.runc.v2", "io.containerd.other.v1"), warned(`its default_runtime_name is "runc"`)},
		"other network":  {fitting() + "[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/etc/other'\n", warned("network configuration")},
		"other programs": {fitting() + "[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['/usr/lib/cni']\n", warned("network programs")},
		"snapshotter":    {fitting() + images + "snapshotter = 'native'\n", warned(`its snapshotter is "native"`)},
		"sandbox":        {fitting() + images + "pinned_images = {sandbox = 'a/b@sha256:" + strings.Repeat("0", 64) + "'}\n", warned("named by its digest")},
	} {
		t.Run(name, func(t *testing.T) {
			root, socket := runtimeRoot(t)
			config := strings.NewReplacer("!true", "false", "!false", "true").Replace(c.config)
			startContainerd(t, filepath.Join(files, "usr/local/bin/containerd"), root, socket, config)
			expect(t, look(t, "runtime", preflight.Facts{Root: root, ActiveUnits: units(cri.Unit)}), c.want)
			expect(t, look(t, "runtime", preflight.Facts{Root: root, ActiveUnits: units()}), problem("not as containerd.service"))
		})
	}
}

// TestRuntimeStore: what is left of a containerd that does not run is a warning.
func TestRuntimeStore(t *testing.T) {
	facts := preflight.Facts{Root: tree{"var/lib/containerd/": ""}.make(t), ActiveUnits: units()}
	expect(t, look(t, "runtime", facts))
	facts.Root = tree{"var/lib/containerd/.slipway-preflight-1/upper/": ""}.make(t) // of another check, at the same time
	expect(t, look(t, "runtime", facts))
	facts.Root = tree{"var/lib/containerd/something": ""}.make(t)
	expect(t, look(t, "runtime", facts), warned("apart from what is there"))
}

// startContainerd runs the bundle's, with all it writes below root, until the test ends.
func startContainerd(t *testing.T, program, root, socket, with string) {
	t.Helper()
	config := fmt.Sprintf("version = 3\nroot = '%[1]s/root'\nstate = '%[1]s/state'\n%[3]s"+
		"[grpc]\naddress = %[2]q\n[ttrpc]\naddress = '%[1]s/ttrpc'\n"+
		"[plugins.'io.containerd.internal.v1.opt']\npath = '%[1]s/opt'\n"+
		"[plugins.'io.containerd.nri.v1.nri']\ndisable = true\n", // its socket is one for the whole computer
		root, socket, with)
	file := filepath.Join(root, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(root, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, "--config", file)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() { // the signal at the parent's death is that of its thread's
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("containerd's log:\n%s", text)
		}
	})
	waitForContainerd(t, socket, ended)
}

func waitForContainerd(t *testing.T, socket string, ended <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if c, err := containerd.New(socket, containerd.WithTimeout(time.Second)); err == nil {
			ok, err := c.IsServing(ctx)
			c.Close()
			if ok && err == nil {
				return
			}
		}
		select {
		case <-ended:
			t.Fatal("containerd has ended")
		case <-ctx.Done():
			t.Fatal("containerd does not answer")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
