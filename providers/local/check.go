package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/fault"
)

// Check tells whether machines can be made on this computer, all problems at once. It leaves
// nothing behind: what must be tried is tried in a network namespace that goes with it.
func (p *Provider) Check(ctx context.Context) error {
	if err := CheckRoot(); err != nil {
		return err
	}
	return errors.Join(checkOverlay(p.cfg.StateDir), checkLinks(), checkBridgeNetfilter(ctx), checkControllers())
}

// CheckRoot gives the fault not-root unless this program may make and reach machines.
func CheckRoot() error {
	if os.Geteuid() != 0 {
		return fault.New("not-root", "work with machines on this computer",
			errors.New("that needs root, for mounts, namespaces and cgroups"), "run it as root, for example with sudo")
	}
	return nil
}

func missing(feature string, err error, next string) error {
	return fault.New("kernel-feature-missing", fmt.Sprintf("use %s on this computer", feature), err, next)
}

// loadModule is the advice for everything that is usually a module.
func loadModule(name string) string {
	return fmt.Sprintf("load it with \"modprobe %s\", or use a kernel that has it", name)
}

// checkOverlay tries an overlay whose upper directory is where those of machines will be: not
// every file system can be one, an overlay itself least of all.
func checkOverlay(stateDir string) error {
	parent := existing(stateDir)
	dir, err := os.MkdirTemp(parent, ".slipway-check-*")
	if err != nil {
		return fault.New("state-dir-unsuitable", fmt.Sprintf("keep machines in %q", stateDir), err, "choose another state directory")
	}
	defer os.RemoveAll(dir)
	err = tryOverlay(home(dir))
	if err == nil {
		return nil
	}
	if !kernelHasFilesystem("overlay") {
		return missing("overlay file systems", err, loadModule("overlay"))
	}
	return fault.New("state-dir-unsuitable", fmt.Sprintf("keep machines in %q", stateDir),
		fmt.Errorf("its file system cannot be the upper layer of an overlay: %w", err),
		"choose a state directory on a local disk with, for example, ext4, xfs or btrfs")
}

func tryOverlay(h home) error {
	if err := makeDirs(h.upper(), h.work(), h.root(), h.data()); err != nil {
		return err
	}
	if err := mountRoot(h, []string{h.data()}); err != nil {
		return err
	}
	return unix.Unmount(h.root(), unix.MNT_DETACH)
}

// existing gives the nearest directory above that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func kernelHasFilesystem(name string) bool {
	f, err := os.Open("/proc/filesystems")
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 && fields[len(fields)-1] == name {
			return true
		}
	}
	return false
}

func checkLinks() error {
	var errs []error
	err := inNetns(enterNew, func() error {
		for _, link := range []netlink.Link{
			&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth0"}, PeerName: "veth1"},
			&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge0"}},
			&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan0"}, VxlanId: 1, Port: 4789},
		} {
			if err := netlink.LinkAdd(link); err != nil {
				errs = append(errs, missing(link.Type()+" links", err, loadModule(link.Type())))
			}
		}
		if err := tryNftables(); err != nil {
			errs = append(errs, missing("nf_tables", err, loadModule("nf_tables")))
		}
		return nil
	})
	if err != nil {
		errs = append(errs, missing("network namespaces", err, "use a kernel that has them"))
	}
	return errors.Join(errs...)
}

func tryNftables() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	n := Network{Cluster: "check", Subnet: netip.PrefixFrom(netip.IPv4Unspecified(), 8), Gateway: netip.IPv4Unspecified()}
	t := c.AddTable(firewallTable(n.Cluster))
	addSeclusion(c, t, n)
	addMasquerade(c, t, n)
	return c.Flush()
}

// checkBridgeNetfilter is content with a module that could be loaded.
func checkBridgeNetfilter(ctx context.Context) error {
	_, err := os.Stat("/proc/sys/net/bridge")
	if err == nil || exec.CommandContext(ctx, "modprobe", "--dry-run", "--quiet", "br_netfilter").Run() == nil {
		return nil
	}
	return missing("bridge netfilter", err, loadModule("br_netfilter"))
}

// neededControllers are what kubelet wants to account and limit by.
const neededControllers = "cpu cpuset memory pids"

func checkControllers() error {
	have, err := controllers()
	if err != nil {
		return missing("cgroups", err, "mount them at /sys/fs/cgroup")
	}
	var errs []error
	for _, name := range strings.Fields(neededControllers) {
		if !have[name] {
			errs = append(errs, fault.New("cgroup-controller-missing", fmt.Sprintf("use the cgroup controller %q on this computer", name),
				errors.New("it is in no hierarchy that is mounted below /sys/fs/cgroup"),
				fmt.Sprintf("mount it, or enable it on the kernel's command line, for example with cgroup_enable=%s", name)))
		}
	}
	return errors.Join(errs...)
}

// controllers lists those of all mounted hierarchies: a v1 hierarchy has them as mount options,
// the v2 tree in a file.
func controllers() (map[string]bool, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, h := range all {
		names := h.options
		if h.unified {
			data, err := os.ReadFile(filepath.Join(h.path, "cgroup.controllers"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			names = strings.Fields(string(data))
		}
		for _, name := range names {
			have[name] = true
		}
	}
	return have, nil
}
