package local_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/testenv"
	"slipway.dev/slipway/providers/local"
)

// needNetwork skips a test of networks, which need no bundle.
func needNetwork(t *testing.T) *host {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Lacks(t, "needs root")
	}
	return newProvider(t, "none")
}

func TestFences(t *testing.T) {
	h := needNetwork(t)
	addOutside(t)
	sh(t, "ip route add default via "+outsideAddress)
	before := takeTraces(t, h)
	h.ensure(t, network("lt-a", 0))
	h.ensure(t, network("lt-b", 1))
	h.ensure(t, network("lt-b", 1))
	for _, prefix := range []string{"10.91.0.0/24", "10.91.1.0/24", "10.92.0.0/16", "10.93.0.0/16"} {
		if got := sh(t, "ip route show type blackhole proto 83 exact "+prefix); got == "" {
			t.Errorf("no fence for %s", prefix)
		}
	}
	if got := sh(t, "ip route get 10.91.0.7"); !strings.Contains(got, "dev sl-lt-a-") {
		t.Errorf("the fence hides the bridge: %s", got)
	}
	if _, err := net.Dial("udp4", "10.92.3.4:9"); err == nil {
		t.Error("a packet for a pod would leave")
	}
	h.down(t, "lt-a")
	for _, prefix := range []string{"10.92.0.0/16", "10.93.0.0/16"} {
		if got := sh(t, "ip route show type blackhole exact "+prefix); strings.Count(got, "\n") != 0 || got == "" {
			t.Errorf("the other cluster's fence for %s: %q", prefix, got)
		}
	}
	if _, err := net.Dial("udp4", "10.92.3.4:9"); err == nil {
		t.Error("a packet for a pod of the other cluster would leave")
	}
	h.down(t, "lt-b")
	before.compare(t, takeTraces(t, h))
	if _, err := net.Dial("udp4", "10.92.3.4:9"); err != nil {
		t.Error("a fence is left:", err)
	}
}

// TestSeclusion has a machine that tries to get out: forwarding is on and it knows the way.
func TestSeclusion(t *testing.T) {
	h := newHost(t)
	addOutside(t)
	sh(t, "sysctl -qw net.ipv4.ip_forward=1")
	t.Cleanup(func() { sh(t, "sysctl -qw net.ipv4.ip_forward=0") })
	if got := ask(t, new(net.Dialer)); got != uplinkAddress {
		t.Fatalf("the outside does not answer: %q", got)
	}
	h.ensure(t, network("lt-shut", 0))
	m := h.create(t, h.spec("lt-shut", "one", 2))
	shell(t, m, "ip route add default via 10.91.0.1")
	if got := ask(t, m); got != "" {
		t.Errorf("reached the outside as %q", got)
	}
	here := listenHere(t)
	if got := askAt(t, m, uplinkAddress+here); got != "" {
		t.Errorf("reached another address of this computer as %q", got)
	}
	if got := askAt(t, m, "10.91.0.1"+here); got != "10.91.0.2" {
		t.Errorf("does not reach the gateway: %q", got)
	}
	sh(t, "nft delete table inet slipway-lt-shut") // the proof that nothing else has held it back
	if got := ask(t, m); got != "10.91.0.2" {
		t.Errorf("without the table the outside saw %q", got)
	}
	h.down(t, "lt-shut", "one")
}

func TestEgress(t *testing.T) {
	h := newHost(t)
	addOutside(t)
	before := takeTraces(t, h)
	n := network("lt-open", 0)
	n.Egress = true
	h.ensure(t, n)
	m := h.create(t, h.spec("lt-open", "one", 2))
	if got := ask(t, m); got != uplinkAddress {
		t.Errorf("the outside saw %q", got)
	}
	h.down(t, "lt-open", "one")
	before.compare(t, takeTraces(t, h))
}

func TestSettings(t *testing.T) {
	h := newHost(t)
	was := settings(t)
	if was == nil {
		t.Skip("needs a computer without other machines, which share its settings")
	}
	panics := sh(t, "sysctl -n kernel.panic")
	t.Cleanup(func() { sh(t, "sysctl -qw kernel.panic="+panics) })
	h.ensure(t, network("lt-a", 0))
	h.ensure(t, network("lt-b", 1))
	spec := h.spec("lt-b", "two", 2)
	spec.Address = netip.MustParseAddr("10.91.1.2")
	m := h.create(t, h.spec("lt-a", "one", 2))
	h.create(t, spec)
	raised := sh(t, "sysctl -n fs.inotify.max_user_instances")
	if len(raised) < 4 {
		t.Errorf("the limit is %s", raised)
	}
	shell(t, m, "sysctl -qw kernel.panic=11") // as kubelet does
	h.down(t, "lt-a", "one")
	if got := sh(t, "sysctl -n fs.inotify.max_user_instances"); got != raised {
		t.Errorf("the limit is %s while a machine runs", got)
	}
	h.down(t, "lt-b", "two")
	if got := settings(t); got != nil && strings.Join(got, "\n") != strings.Join(was, "\n") {
		t.Errorf("before %q\nafter %q", was, got)
	}
}

type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

type machineDialer struct{ *local.Machine }

func (m machineDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return m.Dial(ctx, network, address)
}

// ask gives the address that the outside sees, or nothing.
func ask(t *testing.T, from any) string { t.Helper(); return askAt(t, from, outsideServer) }

func askAt(t *testing.T, from any, address string) string {
	t.Helper()
	d, ok := from.(dialer)
	if !ok {
		d = machineDialer{from.(*local.Machine)}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp4", address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	data, _ := io.ReadAll(conn)
	return string(data)
}

func listenHere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go answer(l)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return ":" + port
}

func TestCheckNetwork(t *testing.T) {
	h := needNetwork(t)
	addOutside(t)
	sh(t, "ip route add default via "+outsideAddress+"; ip route add 10.200.0.0/16 via "+outsideAddress+
		"; ip route add 10.201.0.0/16 via "+outsideAddress+" table 77; ip route add 0.0.0.0/1 via "+outsideAddress)
	h.ensure(t, network("other", 0))
	for name, c := range map[string]struct {
		subnet string
		fenced []string
		faults int
	}{
		"free":                          {"10.55.0.0/24", []string{"10.56.0.0/16"}, 0},
		"same fences as the other":      {"10.55.0.0/24", []string{"10.92.0.0/16", "10.93.0.0/16"}, 0},
		"an address's network":          {"198.51.100.0/25", nil, 1},
		"a route":                       {"10.200.3.0/24", nil, 1},
		"a route in another table":      {"10.201.0.0/24", nil, 1},
		"fenced over a route":           {"10.55.0.0/24", []string{"10.200.0.0/24", "10.56.0.0/16"}, 1},
		"fenced over the other's nodes": {"10.55.0.0/24", []string{"10.91.0.0/16"}, 1},
		"the other's subnet":            {"10.91.0.0/24", nil, 1},
		"both":                          {"10.91.0.0/25", []string{"10.200.0.0/16"}, 2},
		"loopback":                      {"127.0.0.0/24", nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := local.Network{Cluster: "mine", Subnet: netip.MustParsePrefix(c.subnet)}
			n.Gateway = n.Subnet.Addr().Next()
			for _, f := range c.fenced {
				n.Fenced = append(n.Fenced, netip.MustParsePrefix(f))
			}
			wantFault(t, h.CheckNetwork(t.Context(), n), []string{"subnet-in-use", "subnet-in-use"}[:c.faults]...)
			if c.faults > 0 {
				if err := h.EnsureNetwork(t.Context(), n); err == nil {
					t.Error("made all the same")
				}
			}
		})
	}
	if err := h.CheckNetwork(t.Context(), network("other", 0)); err != nil {
		t.Errorf("its own things are in its way: %v", err)
	}
	h.down(t, "other")
}

func TestFreeSubnet(t *testing.T) {
	h := needNetwork(t)
	addOutside(t)
	sh(t, "ip route add 10.91.1.128/25 via "+outsideAddress)
	h.ensure(t, network("other", 0))
	for pool, want := range map[string]string{
		"10.91.0.0/16":     "10.91.2.0/24",
		"10.92.0.0/15":     "none", // fenced by the other
		"10.91.0.0/24":     "none",
		"255.255.254.0/23": "255.255.254.0/24",
	} {
		got := "none"
		p, err := h.FreeSubnet(t.Context(), netip.MustParsePrefix(pool), 24)
		if err == nil {
			got = p.String()
		} else {
			wantFault(t, err, "no-free-subnet")
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", pool, got, want)
		}
	}
	h.down(t, "other")
}

func TestBadInput(t *testing.T) {
	h := newProvider(t, "none")
	_, err := h.Create(t.Context(), h.spec("ok", "Not/OK", 2))
	wantFault(t, err, "name-invalid")
	wantFault(t, h.EnsureNetwork(t.Context(), network("a.b", 0)), "name-invalid")
	wantFault(t, h.Delete(t.Context(), "..", "x"), "name-invalid")
	n := network("ok", 0)
	n.Fenced = append(n.Fenced, netip.MustParsePrefix("10.91.0.128/25"))
	wantFault(t, h.EnsureNetwork(t.Context(), n), "subnet-overlap")
	n = network("ok", 0)
	n.Gateway = netip.MustParseAddr("10.1.1.1")
	if err := h.EnsureNetwork(t.Context(), n); err == nil {
		t.Error("a gateway outside of the subnet")
	}
	if _, err := os.Stat(filepath.Dir(h.config.StateDir)); err != nil {
		t.Error(err)
	}
	if left := entries(filepath.Dir(h.config.StateDir)); len(left) != 0 {
		t.Errorf("bad input has changed something: %q", left)
	}
}

// TestElsewhere: the name of a cluster that another state directory has the record of is taken while its machines run.
func TestElsewhere(t *testing.T) {
	h := newHost(t)
	before := takeTraces(t, h)
	n := network("lt-else", 0)
	h.ensure(t, n)
	h.create(t, h.spec("lt-else", "one", 2))
	other := h.config
	other.StateDir = filepath.Join(t.TempDir(), "state")
	wantFault(t, local.New(other).CheckNetwork(t.Context(), n), "cluster-elsewhere")
	if err := h.CheckNetwork(t.Context(), n); err != nil {
		t.Errorf("with its own: %v", err)
	}
	h.down(t, "lt-else", "one")
	if err := local.New(other).CheckNetwork(t.Context(), n); err != nil {
		t.Errorf("when it is gone: %v", err)
	}
	before.compare(t, takeTraces(t, h))
}
