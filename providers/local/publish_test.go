package local_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"slipway.dev/slipway/providers/local"
)

const behind = "10.91.0.200"

// publishing is a network with a TCP and a UDP port on loopback, and addresses behind its front.
func publishing(front string) local.Network {
	n := network("lt-pub", 0)
	n.Front, n.Behind = netip.MustParseAddr(front), netip.MustParsePrefix("10.91.0.192/27")
	at := netip.MustParseAddrPort("127.0.0.1:18080")
	n.Ports = []local.Port{{At: at, To: 30080}, {At: at, To: 30080, UDP: true}}
	return n
}

// TestPublish leads ports to a machine, then to another one; in their place are network namespaces.
func TestPublish(t *testing.T) {
	for name, egress := range map[string]bool{"secluded": false, "with egress": true} {
		t.Run(name, func(t *testing.T) { checkPublishing(t, egress) })
	}
}

func checkPublishing(t *testing.T, egress bool) {
	t.Helper()
	h := needNetwork(t)
	addOutside(t)
	sh(t, "ip route add default via "+outsideAddress)
	before := takeTraces(t, h)
	n := publishing("10.91.0.2")
	n.Egress = egress
	h.ensure(t, n)
	one, two := addNeighbour(t, n, "10.91.0.2"), addNeighbour(t, n, "10.91.0.3")
	flow, err := net.Dial("udp4", "127.0.0.1:18080")
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	check := func(address string) {
		t.Helper()
		if got := talk(t, "tcp4", "127.0.0.1:18080"); got != address+" hears 10.91.0.1" {
			t.Errorf("by TCP %q", got)
		}
		if got := hear(t, flow); got != address+" hears 10.91.0.1" {
			t.Errorf("by UDP, in a flow that lasts, %q", got)
		}
		if got := talk(t, "tcp4", behind+":30080"); got != behind+" hears 10.91.0.1" {
			t.Errorf("behind it %q", got)
		}
		if got := sh(t, "ip route get "+behind); !strings.Contains(got, "via "+address+" ") {
			t.Errorf("the way behind it is %s", got)
		}
	}
	check("10.91.0.2")
	n.Front = netip.MustParseAddr("10.91.0.3")
	h.ensure(t, n)
	check("10.91.0.3")
	if got := talk(t, "tcp4", "127.0.0.2:18080"); got != "" {
		t.Errorf("another address of the loopback: %q", got)
	}
	checkClosed(t, one)
	sent := sh(t, "ip -s -o link show uplink | sed s/.*TX://")
	sh(t, "ip link delete "+bridge(t))
	if got := talk(t, "tcp4", "127.0.0.1:18080"); got != "" {
		t.Errorf("without the bridge: %q", got)
	}
	_, _ = flow.Write([]byte("lost"))
	if got := sh(t, "ip -s -o link show uplink | sed s/.*TX://"); got != sent {
		t.Errorf("something left this computer: %s, before %s", got, sent)
	}
	sh(t, "nft delete table inet slipway-lt-pub") // now all is as after a restart of this computer
	h.ensure(t, n)
	sh(t, fmt.Sprintf("ip link set nb2 master %[1]s; ip link set nb3 master %[1]s", bridge(t)))
	check("10.91.0.3")
	sh(t, "ip link delete nb2; ip link delete nb3")
	one.Close()
	two.Close()
	h.down(t, "lt-pub")
	before.compare(t, takeTraces(t, h))
}

// checkClosed: neither machines nor others get to this computer's loopback by what publishing changes.
func checkClosed(t *testing.T, machine netns.NsHandle) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:18090")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go answer(l)
	spoofed, err := net.ListenPacket("udp4", "10.91.0.1:18091")
	if err != nil {
		t.Fatal(err)
	}
	defer spoofed.Close()
	attack(t, machine, `ip route flush table local exact 127.0.0.0/8; ip route flush table local exact 127.0.0.1
		sysctl -qw net.ipv4.conf.eth0.route_localnet=1; ip address del 127.0.0.1/8 dev lo; ip address add 127.0.0.5/32 dev eth0
		ip route add 127.0.0.1 via 10.91.0.1 src 10.91.0.2`)
	reached := func() (reached []string) {
		for _, port := range []string{"18090", "18080"} {
			if got := talkFrom(t, machine, nil, "tcp4", "127.0.0.1:"+port); got != "" {
				reached = append(reached, port)
			}
		}
		_ = talkFrom(t, machine, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 5)}, "udp4", "10.91.0.1:18091")
		_ = spoofed.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, from, err := spoofed.ReadFrom(make([]byte, 64)); err == nil {
			reached = append(reached, "spoofed "+from.String())
		}
		return reached
	}
	if got := reached(); len(got) > 0 {
		t.Errorf("a machine reached %q on this computer's loopback", got)
	}
	for _, to := range []string{"10.91.0.1:18080", uplinkAddress + ":18080"} {
		if got := talkFrom(t, machine, nil, "tcp4", to); got != "" {
			t.Errorf("from a machine %s is %q", to, got)
		}
	}
	sh(t, "nft flush chain inet slipway-lt-pub guard") // the proof that nothing else has held it back
	if got := fmt.Sprint(reached()); !strings.Contains(got, "18090") || !strings.Contains(got, "spoofed 127.0.0.5") {
		t.Errorf("without the guard a machine reached %s", got)
	}
}

func TestPortsInUse(t *testing.T) {
	h := needNetwork(t)
	n := publishing("10.91.0.2")
	for _, at := range []string{"127.0.0.1:18080", "0.0.0.0:18080"} {
		l, err := net.Listen("tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"check": h.CheckNetwork(t.Context(), n), "make": h.EnsureNetwork(t.Context(), n)} {
			wantFault(t, err, "port-in-use")
			if want := fmt.Sprintf("process %d has 127.0.0.1:18080/tcp", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s while somebody listens at %s: %v", what, at, err)
			}
		}
		l.Close()
	}
	h.ensure(t, n)
	h.ensure(t, n)
	sh(t, "ip link delete "+bridge(t))
	l, err := net.Listen("tcp4", "127.0.0.1:18080")
	if err != nil {
		t.Fatal(err)
	}
	wantFault(t, h.EnsureNetwork(t.Context(), n), "port-in-use")
	l.Close()
	h.ensure(t, n)
	other := network("lt-b", 1)
	other.Front, other.Ports = netip.MustParseAddr("10.91.1.2"), n.Ports
	for _, err := range []error{h.CheckNetwork(t.Context(), other), h.EnsureNetwork(t.Context(), other)} {
		wantFault(t, err, "port-in-use", "port-in-use")
		if !strings.Contains(err.Error(), `cluster "lt-pub" has 127.0.0.1:18080/udp`) {
			t.Error(err)
		}
	}
	n.Ports = n.Ports[:1]
	wantFault(t, h.EnsureNetwork(t.Context(), n), "network-differs")
	h.down(t, "lt-pub")
	h.ensure(t, other)
	h.down(t, "lt-b")
}

func TestBadPorts(t *testing.T) {
	h := newProvider(t, "none")
	for name, change := range map[string]func(*local.Network){
		"not on loopback":      func(n *local.Network) { n.Ports[0].At = netip.MustParseAddrPort("10.91.0.1:80") },
		"no port":              func(n *local.Network) { n.Ports[0].To = 0 },
		"twice":                func(n *local.Network) { n.Ports[1].UDP = false },
		"no front":             func(n *local.Network) { n.Front = netip.Addr{} },
		"front is the gateway": func(n *local.Network) { n.Front = n.Gateway },
		"front elsewhere":      func(n *local.Network) { n.Front = netip.MustParseAddr("10.91.1.2") },
		"front behind itself":  func(n *local.Network) { n.Front = netip.MustParseAddr(behind) },
		"behind all":           func(n *local.Network) { n.Behind = n.Subnet },
		"behind elsewhere":     func(n *local.Network) { n.Behind = netip.MustParsePrefix("10.91.1.0/27") },
	} {
		n := publishing("10.91.0.2")
		change(&n)
		if err := h.CheckNetwork(t.Context(), n); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func bridge(t *testing.T) string {
	t.Helper()
	return strings.TrimSuffix(strings.Fields(sh(t, "ip -o link show type bridge"))[1], ":")
}

// addNeighbour puts a network namespace with that address on the bridge, and a server in it.
func addNeighbour(t *testing.T, n local.Network, address string) netns.NsHandle {
	t.Helper()
	var ns netns.NsHandle
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	name := "nb" + address[len(address)-1:]
	var tcp net.Listener
	var udp net.PacketConn
	onThread(t, func() error {
		if ns, err = netns.New(); err != nil {
			return err
		}
		script := fmt.Sprintf(`ip link set lo up; ip link add eth0 type veth peer name %s
			sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1 net.ipv6.conf.%s.disable_ipv6=1
			ip address add %s/24 dev eth0; ip address add %s/32 dev lo; ip link set eth0 up
			ip link set %s netns /proc/%d/fd/%d`, name, name, address, behind, name, os.Getpid(), home)
		if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if tcp, err = net.Listen("tcp4", "0.0.0.0:30080"); err != nil {
			return err
		}
		udp, err = net.ListenPacket("udp4", address+":30080")
		return err
	})
	sh(t, fmt.Sprintf("sysctl -qw net.ipv6.conf.%s.disable_ipv6=1; ip link set %s master %s up", name, name, bridge(t)))
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	go serveTCP(tcp)
	go serveUDP(udp)
	return ns
}

func serveTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(conn, hears(conn.LocalAddr(), conn.RemoteAddr()))
		conn.Close()
	}
}

func serveUDP(c net.PacketConn) {
	for {
		_, from, err := c.ReadFrom(make([]byte, 64))
		if err != nil {
			return
		}
		_, _ = c.WriteTo([]byte(hears(c.LocalAddr(), from)), from)
	}
}

func hears(here, there net.Addr) string {
	return netip.MustParseAddrPort(here.String()).Addr().String() + " hears " + netip.MustParseAddrPort(there.String()).Addr().String()
}

// onThread runs f on a thread that ends with it.
func onThread(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func attack(t *testing.T, from netns.NsHandle, script string) {
	t.Helper()
	onThread(t, func() error {
		if err := netns.Set(from); err != nil {
			return err
		}
		if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// talk gives what the server says, or nothing.
func talk(t *testing.T, network, address string) string {
	t.Helper()
	return say(t, new(net.Dialer), network, address)
}

func talkFrom(t *testing.T, ns netns.NsHandle, as net.Addr, network, address string) (said string) {
	t.Helper()
	onThread(t, func() error {
		if err := netns.Set(ns); err != nil {
			return err
		}
		said = say(t, &net.Dialer{LocalAddr: as}, network, address)
		return nil
	})
	return said
}

func say(t *testing.T, d *net.Dialer, network, address string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	if network == "udp4" {
		return hear(t, conn)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	data, _ := io.ReadAll(conn)
	return string(data)
}

func hear(t *testing.T, conn net.Conn) string {
	t.Helper()
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err.Error()
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	data := make([]byte, 64)
	n, _ := conn.Read(data)
	return string(data[:n])
}
