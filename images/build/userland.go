package build

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	certificates     = "etc/ssl/certs/ca-certificates.crt"
	certificatesFile = "ca-certificates.crt"
)

// userland is what kube-proxy and calico-node run: packet filters and a shell. Packages are only
// unpacked, so what their maintainer scripts would make is listed in parts.
func userland(suite string) debian {
	return debian{
		suite: suite, variant: "extract",
		packages: []string{"base-files", "bash", "dash", "coreutils", "findutils", "grep", "sed", "debianutils", "procps",
			"kmod", "iproute2", "iptables", "nftables", "ipset", "conntrack", "runit", "ca-certificates", "netbase"},
		prune: append(unused(), "usr/lib/locale", "usr/lib/*/perl*", "usr/share/perl*", "usr/bin/perl*", "usr/lib/*/libperl*", "usr/bin/openssl",
			"usr/share/debconf", "usr/share/runit", "usr/share/keyrings", "usr/lib/*/libdb-*", "etc/sv", "etc/runit", "etc/default",
			"etc/init.d", "etc/systemd", "lib/systemd", "usr/lib/systemd", "var/lib/dpkg/info", "usr/share/mime", "usr/bin/dpkg*"),
		parts: append(links(),
			part{path: "etc/passwd", text: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
			part{path: "etc/group", text: "root:x:0:\nnogroup:x:65534:\n"},
			part{path: "tmp", mode: 0o1777}, part{path: "run"}, part{path: "dev"}, part{path: "proc"}, part{path: "sys"},
			part{path: "etc/hosts", text: "127.0.0.1 localhost\n"},
		),
	}
}

// links are Debian's alternatives. The nft flavour comes first, as on Debian itself.
func links() []part {
	out := []part{{path: "usr/bin/which", link: "which.debianutils"}}
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			out = append(out, part{path: "usr/sbin/" + name + suffix, link: "xtables-nft-multi"})
		}
	}
	return out
}

// trusted joins the certificates that the ca-certificates package would install.
func trusted(t tree) ([]byte, error) {
	var names []string
	for name := range t {
		if strings.HasPrefix(name, "usr/share/ca-certificates/") && strings.HasSuffix(name, ".crt") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("join the trusted certificates: there are none")
	}
	slices.Sort(names)
	var out bytes.Buffer
	for _, name := range names {
		f, _, err := t[name].open()
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(&out, f)
		f.Close()
		if err != nil {
			return nil, err
		}
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}
