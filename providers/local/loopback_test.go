package local_test

import (
	"net"
	"strconv"
	"testing"

	"slipway.dev/slipway/providers/local"
)

// TestLoopback reaches one port of this computer's loopback from a machine, with egress and without, and nothing else there.
func TestLoopback(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	open, closed := listenAt(t, "127.0.0.1"), listenAt(t, "127.0.0.1")
	for _, egress := range []bool{false, true} {
		n := network("lt-loop", 0)
		n.Egress, n.Loopback = egress, []uint16{uint16(portOf(t, open))}
		h.ensure(t, n)
		m := h.create(t, h.spec("lt-loop", "one", 2))
		if got := askAt(t, m, "10.91.0.1:"+open); got != "10.91.0.2" {
			t.Errorf("egress %v: the port on loopback saw %q", egress, got)
		}
		if got := askAt(t, m, "10.91.0.1:"+closed); got != "" {
			t.Errorf("egress %v: another port on loopback saw %q", egress, got)
		}
		guarded(t, m, egress)
		h.down(t, "lt-loop", "one")
	}
	before.compare(t, takeTraces(t, h))
}

// guarded sends to a loopback address from a machine that takes it for one of the gateway's.
func guarded(t *testing.T, m *local.Machine, egress bool) {
	t.Helper()
	port := listenAt(t, "127.5.5.5")
	shell(t, m, "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip route del local 127.0.0.0/8 dev lo table local; "+
		"ip route add 127.5.5.5 via 10.91.0.1 src 10.91.0.2")
	if got := askAt(t, m, "127.5.5.5:"+port); got != "" {
		t.Errorf("egress %v: another address of loopback saw %q", egress, got)
	}
	sh(t, "nft delete table inet slipway-lt-loop") // the proof that nothing else has held it back
	if got := askAt(t, m, "127.5.5.5:"+port); got != "10.91.0.2" {
		t.Errorf("egress %v: without the table another address of loopback saw %q", egress, got)
	}
}

// listenAt gives the port.
func listenAt(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp4", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go answer(l)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func portOf(t *testing.T, text string) int {
	t.Helper()
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
