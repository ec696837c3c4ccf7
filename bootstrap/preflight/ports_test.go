package preflight_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/preflight"
)

func TestPortInUse(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tcp, udp := listener.Addr().(*net.TCPAddr).Port, conn.LocalAddr().(*net.UDPAddr).Port
	me := fmt.Sprintf("process %d", os.Getpid())
	f := preflight.Facts{Ports: []preflight.Port{
		{Port: tcp, What: "a", Host: loopback},
		{Port: udp, What: "b", Host: loopback, UDP: true},
		{Port: tcp, What: "c"}, // any address, that one among them
		{Port: tcp, What: "d", Host: netip.MustParseAddr("127.0.0.2")},
		{Port: tcp, What: "e", Host: netip.MustParseAddr("192.0.2.1")},
	}}
	found := look(t, "ports", f)
	expect(t, found,
		problem(fmt.Sprintf("port %d/tcp, for a, is in use by ", tcp)),
		problem(fmt.Sprintf("port %d/udp, for b, is in use by ", udp)),
		problem("for c, is in use"),
		problem("nothing can listen on port"))
	for i := range 3 {
		if len(found) > i && !strings.Contains(found[i].Message, me) {
			t.Errorf("%q does not name %s", found[i].Message, me)
		}
	}
	f.Resuming = true
	expect(t, look(t, "ports", f))
	f.Resuming, f.Ports = false, f.Ports[:2]
	listener.Close()
	conn.Close()
	expect(t, look(t, "ports", f))
}

func TestPortsOfNode(t *testing.T) {
	has := func(all []preflight.Port, port int) bool {
		for _, p := range all {
			if p.Port == port && p.What != "" {
				return true
			}
		}
		return false
	}
	for _, port := range []int{bootstrap.APIPort, bootstrap.EtcdPort, bootstrap.EtcdPeerPort, bootstrap.SchedulerPort} {
		if !has(preflight.Ports(true), port) || has(preflight.Ports(false), port) {
			t.Errorf("port %d is for control planes, and for them only", port)
		}
	}
	for _, controlPlane := range []bool{true, false} {
		if !has(preflight.Ports(controlPlane), 10250) {
			t.Errorf("the kubelet's port is missing for control plane %t", controlPlane)
		}
	}
}
