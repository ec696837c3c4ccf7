// Package kmod knows which modules the kernel has loaded, and unloads those that it loaded for pods. It loads none: the
// kernel does that itself when something is used.
package kmod

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// module is a line of /proc/modules, which says how many use it, and which other modules do:
// https://man7.org/linux/man-pages/man5/proc_modules.5.html
type module struct {
	name  string
	used  bool
	users []string
}

// Loaded is empty for a kernel without modules.
func Loaded() ([]string, error) {
	all, err := modules()
	var names []string
	for _, m := range all {
		names = append(names, m.name)
	}
	return names, err
}

func modules() ([]module, error) {
	f, err := os.Open("/proc/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list kernel modules: %w", err)
	}
	defer f.Close()
	var out []module
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := append(strings.Fields(lines.Text()), "", "", "", "")
		out = append(out, module{fields[0], fields[2] != "0", strings.Split(fields[3], ",")})
	}
	return out, lines.Err()
}

// Network namespaces and the tables of nftables hold modules for some time after they have gone; the kernel does not
// say when it has cleared them away.
const (
	unloadLimit = 3 * time.Second
	unloadPoll  = 20 * time.Millisecond
)

// UnloadSince unloads what the kernel has loaded for pods since there were those before, and what only that was loaded
// for. What others have begun to use stays. In a container nothing is unloaded: the kernel's other users are not seen there.
func UnloadSince(before []string) error {
	if _, err := os.Stat("/run/systemd/container"); err == nil {
		return nil
	}
	u := unloading{before: before, needed: map[string]bool{}}
	for deadline := time.Now().Add(unloadLimit); ; time.Sleep(unloadPoll) {
		left, err := u.pass()
		if err != nil || left == 0 || time.Now().After(deadline) {
			return err
		}
	}
}

type unloading struct {
	before []string
	needed map[string]bool // by modules that have been unloaded
}

// pass tells how many are left that are in use. One module can be the last user of another.
func (u unloading) pass() (left int, err error) {
	for progress := true; progress; {
		all, err := modules()
		if err != nil {
			return 0, err
		}
		progress, left = false, 0
		candidates := slices.DeleteFunc(slices.Clone(all), func(m module) bool {
			return slices.Contains(u.before, m.name) || !forPods(m.name) && !u.needed[m.name]
		})
		if len(candidates) == 0 {
			return 0, nil
		}
		kept, err := inUse(slices.ContainsFunc(candidates, func(m module) bool { return m.name == nfTables }))
		if err != nil {
			return 0, err
		}
		for _, m := range candidates {
			if m.used || kept[m.name] || unix.DeleteModule(m.name, unix.O_NONBLOCK) != nil {
				left++
				continue
			}
			progress = true
			u.note(m, all)
		}
	}
	return left, nil
}

// note remembers what a module needed that has gone.
func (u unloading) note(gone module, all []module) {
	for _, m := range all {
		if slices.Contains(m.users, gone.name) {
			u.needed[m.name] = true
		}
	}
}

// forPods tells whether a module is of those that containers, Calico and kube-proxy make the kernel load. Felix tries
// whether there are WireGuard and IPVS.
func forPods(module string) bool {
	switch module {
	case "overlay", "veth", "vxlan", "udp_tunnel", "ip6_udp_tunnel", "bridge", "br_netfilter", "stp", "llc", "nfnetlink", "x_tables",
		"libcrc32c", "wireguard", "ip_vs":
		return true
	}
	return slices.ContainsFunc([]string{"nf_", "nft_", "xt_", "ip_set", "ipt_", "ip6t_"}, func(prefix string) bool {
		return strings.HasPrefix(module, prefix)
	})
}
