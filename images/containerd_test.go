package images_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"slipway.dev/slipway/images"
)

func startContainerd(t *testing.T, u *images.Unpacked, root string) *containerd.Client {
	t.Helper()
	return startContainerdAt(t, u, root, filepath.Join(runDir(t), "s"))
}

// runDir is short, as a socket's name has to be.
func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startContainerdAt runs the bundle's containerd with its mounts in a namespace of its own.
func startContainerdAt(t *testing.T, u *images.Unpacked, root, socket string) *containerd.Client {
	t.Helper()
	config := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n"+
		"[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n"+
		"[plugins.'io.containerd.internal.v1.opt']\npath = %q\n"+
		"[plugins.'io.containerd.nri.v1.nri']\ndisable = true\n", // its socket is one for the whole computer
		root, socket+".state", socket, socket+".ttrpc", socket+".opt")
	if err := os.WriteFile(socket+".toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(socket + ".log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(u.Files, "usr/local/bin/containerd"), "--config", socket+".toml")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	ended := runOnOneThread(cmd)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("containerd's log:\n%s", text)
		}
	})
	return dial(t, socket)
}

// runOnOneThread starts the program; the kernel takes the end of the thread for that of the parent.
func runOnOneThread(cmd *exec.Cmd) <-chan error {
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		close(started)
		if err == nil {
			err = cmd.Wait()
		}
		ended <- err
	}()
	<-started
	return ended
}

func dial(t *testing.T, socket string) *containerd.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal("containerd does not answer")
		case <-time.After(20 * time.Millisecond):
		}
	}
	c, err := containerd.New(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
