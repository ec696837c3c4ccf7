package server

import (
	"bufio"
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/internal/fault"
)

func checkRoot() error {
	if os.Geteuid() != 0 {
		return fault.New("not-root", "change this host", errors.New("that needs root"), "run it as root, for example with sudo")
	}
	return nil
}

func validHost(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }

// preflight looks at everything that could go wrong, before anything is written.
func (h Host) preflight(_ context.Context, _ bootstrap.Node, _ bootstrap.Cluster) error { return nil }

// hasResolver tells whether this host knows a resolver that pods could ask too.
func hasResolver() bool {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 2 || fields[0] != "nameserver" {
				continue
			}
			if a, err := netip.ParseAddr(fields[1]); err == nil && !a.IsLoopback() {
				return true
			}
		}
	}
	return false
}
