package node

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
)

// containerdHosts has a directory for each registry that is reached in another way than by its name. containerd looks into it at
// each pull: https://github.com/containerd/containerd/blob/v2.3.7/docs/hosts.md
const containerdHosts = "/etc/containerd/certs.d"

// mirrorFiles are the files below it, a hosts.toml for each registry, with its mirrors in the order in which they were given.
func mirrorFiles(mirrors []bootstrap.Mirror) []engine.File {
	var out []engine.File
	servers, hosts := map[string]string{}, map[string]string{}
	var order []string
	for i, m := range mirrors {
		if !slices.Contains(order, m.Host) {
			order = append(order, m.Host)
		}
		ca := ""
		if m.CA != "" {
			file := filepath.Join(hostDir(m.Host), fmt.Sprintf("ca-%d.crt", i))
			out = append(out, engine.File{Path: file, Data: []byte(m.CA), Mode: 0o644})
			ca = fmt.Sprintf("ca = %q\n", file)
		}
		if m.Only {
			servers[m.Host] += fmt.Sprintf("server = %q\n%s", m.URL, ca)
			continue
		}
		hosts[m.Host] += fmt.Sprintf("\n[host.%q]\ncapabilities = ['pull', 'resolve']\n%s", m.URL, ca)
	}
	for _, host := range order {
		text := strings.TrimPrefix(servers[host]+hosts[host], "\n")
		out = append(out, engine.File{Path: filepath.Join(hostDir(host), "hosts.toml"), Data: []byte(text), Mode: 0o644})
	}
	return out
}

func hostDir(host string) string {
	if host == bootstrap.AnyHost {
		host = "_default"
	}
	return filepath.Join(containerdHosts, host)
}
