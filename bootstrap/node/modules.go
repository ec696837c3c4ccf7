package node

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// notedModules is the note about the kernel modules that were loaded before.
const notedModules = "modules"

func (n *builder) noteModules(step string) error {
	loaded, err := loadedModules()
	if err != nil {
		return err
	}
	return n.host.Note(step, notedModules, strings.Join(loaded, " "))
}

// loadedModules is empty for a kernel without modules.
func loadedModules() ([]string, error) {
	f, err := os.Open("/proc/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list kernel modules: %w", err)
	}
	defer f.Close()
	var out []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), " ")
		out = append(out, name)
	}
	return out, lines.Err()
}

// unloadModules unloads what the kernel loaded for the node's sake. A module that others have begun to use stays: the
// kernel keeps it.
func (n *builder) unloadModules() error {
	before, ok := n.host.Noted(notedModules)
	if !ok {
		return nil
	}
	for progress := true; progress; { // one module can be the last user of another
		progress = false
		now, err := loadedModules()
		if err != nil {
			return err
		}
		for _, m := range now {
			if slices.Contains(strings.Fields(before), m) || !forPods(m) {
				continue
			}
			progress = unix.DeleteModule(m, unix.O_NONBLOCK) == nil || progress
		}
	}
	return nil
}

// forPods tells whether a module is of those that containers, Calico and kube-proxy make the kernel load.
func forPods(module string) bool {
	switch module {
	case "overlay", "veth", "vxlan", "udp_tunnel", "ip6_udp_tunnel", "bridge", "br_netfilter", "stp", "llc", "nfnetlink", "x_tables",
		"ip_tables", "ip6_tables", "libcrc32c":
		return true
	}
	return slices.ContainsFunc([]string{"nf_", "nft_", "xt_", "ip_set", "ipt_", "ip6t_", "iptable_", "ip6table_"}, func(prefix string) bool {
		return strings.HasPrefix(module, prefix)
	})
}
