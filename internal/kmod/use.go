package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/hostnet"
)

const nfTables = "nf_tables"

// inUse are the modules behind links and tables of nftables, in all network namespaces. The kernel does not count those
// as users: with the module it would remove the links, an administrator's VPN for one, and his rules. It would load the
// module to list tables, so that is only done if it is there.
func inUse(tables bool) (map[string]bool, error) {
	out, seen := map[string]bool{}, map[string]bool{}
	var paths []string
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/run/netns/*", "/run/docker/netns/*"} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		paths = append(paths, found...)
	}
	for _, path := range paths {
		err := lookInto(path, tables, seen, out)
		if err != nil && !gone(err) {
			return nil, fmt.Errorf("look into network namespace %q: %w", path, err)
		}
	}
	if out["bridge"] {
		out["br_netfilter"] = true
	}
	return out, nil
}

// gone tells whether a process ended while it was looked at, or a file is no namespace.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}

func lookInto(path string, tables bool, seen, used map[string]bool) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if seen[ns.UniqueId()] {
		return nil
	}
	seen[ns.UniqueId()] = true
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := hostnet.List(h.LinkList)
	if err != nil {
		return err
	}
	for _, l := range links {
		used[l.Type()] = true // modules are named by the kind of link that they make
	}
	if !tables {
		return nil
	}
	return tablesOf(ns, used)
}

func tablesOf(ns netns.NsHandle, used map[string]bool) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return err
	}
	tables, err := c.ListTables()
	if err == nil && len(tables) > 0 {
		used[nfTables] = true
	}
	return err
}
