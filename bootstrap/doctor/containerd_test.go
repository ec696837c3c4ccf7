package doctor_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/testenv"
)

func TestContainerdSilent(t *testing.T) {
	r := newWorker(t)
	expect(t, r.examine(t, "containerd"), problem("does not answer", "no such file", "systemctl restart containerd"))
	r.write(t, "/run/containerd/x", "")
	listener, err := net.Listen("unix", r.path("/run/containerd/containerd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // it takes connections, and says nothing
	expect(t, r.examine(t, "containerd"), problem("does not answer", "deadline"))
}

func TestContainerd(t *testing.T) {
	if os.Geteuid() != 0 {
		testenv.Lacks(t, "this needs root, for namespaces")
	}
	dir := testenv.NeedBundle(t)
	files := root(t.TempDir())
	if err := dir.Extract("containerd", string(files)); err != nil {
		t.Fatal(err)
	}
	bundle, err := images.Open(string(dir))
	if err != nil {
		t.Fatal(err)
	}
	sandbox := ""
	for _, c := range bundle.Components() {
		if c.Name == "pause" {
			sandbox = c.Ref
		}
	}
	start := func(t *testing.T, disabled string) (root, string) {
		r := newWorker(t)
		socket := r.path("/run/containerd/containerd.sock")
		r.write(t, "/run/containerd/x", "")
		startContainerd(t, files.path("usr/local/bin/containerd"), r, socket, disabled, sandbox)
		return r, socket
	}
	t.Run("with CRI", func(t *testing.T) {
		r, socket := start(t, "[]")
		answers, noNetwork := fine("answers, with its CRI plugin"), problem("NetworkReady", "cni")
		expect(t, r.examine(t, "containerd"), answers, noNetwork, problem("sandbox image is not there"))
		if err := bundle.Import(t.Context(), socket, []string{"pause"}, func(string) {}); err != nil {
			t.Fatal(err)
		}
		expect(t, r.examine(t, "containerd"), answers, noNetwork)
		conf := `{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "loopback"}]}`
		r.write(t, "/cni/10-x.conflist", conf)
		for deadline := time.Now().Add(time.Minute); len(r.examine(t, "containerd")) != 1; { // it watches the directory
			if time.Now().After(deadline) {
				t.Fatalf("found %+v", r.examine(t, "containerd"))
			}
		}
		expect(t, r.examine(t, "containerd"), answers)
	})
	t.Run("without CRI", func(t *testing.T) {
		r, _ := start(t, "['io.containerd.grpc.v1.cri']")
		expect(t, r.examine(t, "containerd"), problem("without its CRI plugin", "it is disabled", "disabled_plugins"))
	})
}

// startContainerd runs the bundle's, with all it writes below the host's root, until the test ends.
func startContainerd(t *testing.T, program string, r root, socket, disabled, sandbox string) {
	t.Helper()
	config := fmt.Sprintf("version = 3\nroot = '%[1]s/root'\nstate = '%[1]s/state'\ndisabled_plugins = %[3]s\n[grpc]\naddress = %[2]q\n[ttrpc]\naddress = '%[1]s/ttrpc'\n"+
		"[plugins.'io.containerd.internal.v1.opt']\npath = '%[1]s/opt'\n"+
		"[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = %[4]q\n"+
		"[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '%[1]s/cni'\n"+
		"[plugins.'io.containerd.nri.v1.nri']\ndisable = true\n", // its socket is one for the whole computer
		r, socket, disabled, sandbox)
	r.write(t, "/config.toml", config)
	log, err := os.Create(r.path("/log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, "--config", r.path("/config.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	ended := runOnOneThread(t, cmd)
	t.Cleanup(func() {
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("containerd's log:\n%s", text)
		}
	})
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
		waitMore(ctx, t, "containerd", ended)
	}
}

// runOnOneThread starts a program that ends with the test: the kernel takes the end of the thread for that of the parent.
func runOnOneThread(t *testing.T, cmd *exec.Cmd) <-chan struct{} {
	t.Helper()
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
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
	})
	return ended
}

func waitMore(ctx context.Context, t *testing.T, name string, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
		t.Fatalf("%s has ended", name)
	case <-ctx.Done():
		t.Fatalf("%s does not answer", name)
	case <-time.After(20 * time.Millisecond):
	}
}
