package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
)

// storeConfig is that of a containerd that only takes images in: nothing that could run one is on, and nothing that
// makes files outside the root and the state directory.
const storeConfig = `version = 3
root = %q
state = %q
disabled_plugins = [%s]
[plugins.'io.containerd.server.v1.grpc']
address = %q
[plugins.'io.containerd.server.v1.ttrpc']
address = %q
[plugins.'io.containerd.metadata.v1.bolt']
no_sync = true
`

func unneededPlugins() []string {
	return []string{
		"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
		"io.containerd.runtime.v2.task", "io.containerd.shim.v1.manager", "io.containerd.service.v1.tasks-service",
		"io.containerd.grpc.v1.tasks", "io.containerd.monitor.task.v1.cgroups", "io.containerd.monitor.container.v1.restart",
		"io.containerd.sandbox.controller.v1.shim", "io.containerd.podsandbox.controller.v1.podsandbox",
		"io.containerd.grpc.v1.sandbox-controllers", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
		"io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
		"io.containerd.image-verifier.v1.bindir", "io.containerd.transfer.v1.local", "io.containerd.grpc.v1.transfer",
		"io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.native",
		"io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
		"io.containerd.differ.v1.erofs", "io.containerd.mount-handler.v1.erofs", "io.containerd.mount-manager.v1.bolt",
		"io.containerd.metrics.v1.grpc-prometheus", "io.containerd.server.v1.debug", "io.containerd.server.v1.metrics",
		"io.containerd.server.v1.grpc-tcp",
	}
}

// makeStore fills a new containerd directory with the images of the bundle that machines run, by the bundle's own containerd.
func (b *Bundle) makeStore(ctx context.Context, program, root string, report func(string)) error {
	state, err := os.MkdirTemp("", "slipway-store-") // a socket's path is short
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	c := &storeDaemon{state: state, socket: filepath.Join(state, "c.sock")}
	if err := c.start(program, root); err != nil {
		return err
	}
	err = c.wait(ctx)
	if err == nil {
		run := slices.DeleteFunc(b.names(KindImage), func(name string) bool { return name == Plugin })
		err = b.Import(ctx, c.socket, run, report)
	}
	return errors.Join(err, c.stop())
}

type storeDaemon struct {
	state, socket string
	process       *os.Process
	done          chan struct{}
	err           error // of the process, once done is closed
	output        bytes.Buffer
}

// start runs containerd in a mount namespace of its own: whatever it mounts goes with it, even if it is killed.
func (c *storeDaemon) start(program, root string) error {
	config := filepath.Join(c.state, "config.toml")
	var off bytes.Buffer
	for _, p := range unneededPlugins() {
		fmt.Fprintf(&off, "%q,", p)
	}
	text := fmt.Sprintf(storeConfig, root, filepath.Join(c.state, "state"), off.String(), c.socket, c.socket+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(program, "--config", config, "--log-level", "warn") //nolint:noctx // stop ends it in an orderly way
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + c.state}
	cmd.Stdout, cmd.Stderr = &c.output, &c.output
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	c.done = make(chan struct{})
	go c.run(cmd, started)
	return <-started
}

// run keeps its thread as long as the process lives: the kernel sends the death signal when that thread ends.
func (c *storeDaemon) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.done)
	err := cmd.Start()
	c.process = cmd.Process
	started <- err
	if err == nil {
		c.err = cmd.Wait()
	}
}

// wait returns when the daemon answers.
func (c *storeDaemon) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if exists(c.socket) && c.answers(ctx) {
			return nil
		}
		select {
		case <-c.done:
			return c.failure(errors.New("it ended at once"))
		case <-ctx.Done():
			return fmt.Errorf("wait for containerd: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *storeDaemon) answers(ctx context.Context) bool {
	conn, err := client.New(c.socket, client.WithTimeout(time.Second))
	if err != nil {
		return false
	}
	defer conn.Close()
	ok, err := conn.IsServing(ctx)
	return ok && err == nil
}

// stop ends the daemon so that its databases are whole.
func (c *storeDaemon) stop() error {
	if err := c.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		_ = c.process.Kill()
		<-c.done
		return c.failure(errors.New("it did not end"))
	}
	if c.err != nil {
		return c.failure(c.err)
	}
	return nil
}

func (c *storeDaemon) failure(err error) error {
	out := bytes.TrimSpace(c.output.Bytes())
	return fmt.Errorf("run containerd to unpack images: %w: %s", err, out[max(0, len(out)-2000):])
}
