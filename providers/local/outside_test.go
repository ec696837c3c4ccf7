package local_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
)

// outside is the world beyond this computer: a network namespace behind the link "uplink", in
// which a server tells each client the address that it sees.
const (
	outsideAddress = "198.51.100.2"
	outsideServer  = outsideAddress + ":80"
	uplinkAddress  = "198.51.100.1"
)

func addOutside(t *testing.T) {
	t.Helper()
	ns, listener := listenOutside(t)
	t.Cleanup(func() {
		sh(t, "ip link delete uplink")
		listener.Close()
		ns.Close()
	})
	go answer(listener)
}

// listenOutside makes the namespace, its link and the server's socket on one thread, which ends
// with it; the socket stays in the namespace, whoever accepts from it.
func listenOutside(t *testing.T) (netns.NsHandle, net.Listener) {
	t.Helper()
	type result struct {
		ns  netns.NsHandle
		l   net.Listener
		err error
	}
	done := make(chan result)
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	go func() {
		runtime.LockOSThread()
		ns, err := netns.New()
		if err == nil {
			err = plugOutside(home)
		}
		var l net.Listener
		if err == nil {
			l, err = net.Listen("tcp4", outsideServer)
		}
		done <- result{ns, l, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal("make the outside:", r.err)
	}
	sh(t, "sysctl -qw net.ipv6.conf.uplink.disable_ipv6=1; ip address add "+uplinkAddress+"/24 dev uplink; ip link set uplink up; "+
		// The kernel tells of links that change one after the other only once in a second.
		"timeout 10 sh -c 'until ip -br link show uplink | grep -q \" UP \"; do sleep 0.05; done'")
	return r.ns, r.l
}

// plugOutside runs in the outer namespace and moves one end of a cable to ours.
func plugOutside(home netns.NsHandle) error {
	script := fmt.Sprintf(`
		ip link add uplink type veth peer name eth0
		ip address add %s/24 dev eth0; ip link set eth0 up
		ip route add 10.91.0.0/16 via %s`, outsideAddress, uplinkAddress)
	link := fmt.Sprintf("ip link set uplink netns /proc/%d/fd/%d", os.Getpid(), home)
	out, err := exec.Command("sh", "-ec", script+"\n"+link).CombinedOutput()

	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func answer(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		fmt.Fprint(conn, host)
		conn.Close()
	}
}

func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}
