package local_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/providers/local"
)

func TestSmoke(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	if err := h.EnsureNetwork(ctx, network("smoke")); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m, err := h.Create(ctx, h.spec("smoke", "one", "10.91.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Log("created in", time.Since(start))
	var out bytes.Buffer
	for _, c := range []string{"echo hello", "systemctl is-system-running; systemd-analyze; systemctl list-units --failed; ip a; ip r; cat /proc/1/cgroup /etc/hosts /etc/resolv.conf; findmnt -o TARGET,PROPAGATION; systemd-analyze blame; ps ax"} {
		start = time.Now()
		err = m.Run(ctx, local.Command{Args: []string{"sh", "-c", c}, Stdout: &out, Stderr: &out})
		t.Log(time.Since(start), err, out.String())
	}
	start = time.Now()
	if err := h.Delete(ctx, "smoke", "one"); err != nil {
		t.Fatal(err)
	}
	t.Log("deleted in", time.Since(start))
	if err := h.DeleteNetwork(ctx, "smoke"); err != nil {
		t.Fatal(err)
	}
	_ = strings.TrimSpace
	_ = netip.Addr{}
}
