package preflight_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

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

func TestRuntimeContainerd(t *testing.T) {
	needRoot(t)
	bundle := testenv.NeedBundle(t)
	files := t.TempDir()
	if err := bundle.Extract("containerd", files); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		disabled string
		want     want
	}{
		"with CRI":    {"[]", warned("are replaced")},
		"without CRI": {"['io.containerd.grpc.v1.cri']", problem("without its CRI plugin: it is disabled")},
	} {
		t.Run(name, func(t *testing.T) {
			root, socket := runtimeRoot(t)
			startContainerd(t, filepath.Join(files, "usr/local/bin/containerd"), root, socket, c.disabled)
			expect(t, look(t, "runtime", preflight.Facts{Root: root, ActiveUnits: units()}), c.want)
		})
	}
}

// startContainerd runs the bundle's, with all it writes below root, until the test ends.
func startContainerd(t *testing.T, program, root, socket, disabled string) {
	t.Helper()
	config := fmt.Sprintf("version = 3\nroot = '%[1]s/root'\nstate = '%[1]s/state'\ndisabled_plugins = %[3]s\n[grpc]\naddress = %[2]q\n[ttrpc]\naddress = '%[1]s/ttrpc'\n"+
		"[plugins.'io.containerd.internal.v1.opt']\npath = '%[1]s/opt'\n"+
		"[plugins.'io.containerd.nri.v1.nri']\ndisable = true\n", // its socket is one for the whole computer
		root, socket, disabled)
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
