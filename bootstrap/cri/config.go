package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/pelletier/go-toml"

	"slipway.dev/slipway/bootstrap"
)

const defaultConfig = bootstrap.ContainerdConfig

// imageConfig is the section of a configuration that is about images.
type imageConfig struct{ tree *toml.Tree }

func (c imageConfig) text(path ...string) string {
	s, _ := c.tree.GetPath(append([]string{"plugins", "io.containerd.cri.v1.images"}, path...)).(string)
	return s
}

// dumpConfig has the daemon's own program say what its configuration comes to, with what is imported and with its defaults.
func dumpConfig(ctx context.Context, c *containerd.Client) (imageConfig, error) {
	dir, err := daemonProcess(ctx, c)
	if err != nil {
		return imageConfig{}, fmt.Errorf("find its process: %w", err)
	}
	args, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return imageConfig{}, fmt.Errorf("find its configuration: %w", err)
	}
	cmd := exec.CommandContext(ctx, dir+"/exe", "--config", configOf(strings.Split(string(args), "\x00")), "config", "dump")
	cmd.Dir = dir + "/cwd"
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return imageConfig{}, fmt.Errorf("read its configuration: %w", err)
	}
	tree, err := toml.LoadBytes(out)
	if err != nil {
		return imageConfig{}, fmt.Errorf("read its configuration: %w", err)
	}
	return imageConfig{tree}, nil
}

// daemonProcess gives its directory below /proc.
func daemonProcess(ctx context.Context, c *containerd.Client) (string, error) {
	s, err := c.IntrospectionService().Server(ctx)
	if err != nil {
		return "", err
	}
	own, err := os.Stat("/proc/self/ns/pid")
	if err != nil {
		return "", err
	}
	if st, ok := own.Sys().(*syscall.Stat_t); !ok || st.Ino != s.Pidns {
		return "", errors.New("it runs in a container")
	}
	return fmt.Sprintf("/proc/%d", s.Pid), nil
}

// configOf finds the option in the arguments of a daemon.
func configOf(args []string) string {
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case strings.TrimLeft(name, "-") != "config" && name != "-c":
		case ok:
			return value
		case i+1 < len(args):
			return args[i+1]
		}
	}
	return defaultConfig
}
