package localcluster

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/settings"
)

func TestParsePorts(t *testing.T) {
	ports, bad := parsePorts([]string{
		"8080:30080/udp", "443:30443", "127.0.0.9:8080:32767", "127.0.0.1:8080:30000/tcp", "65535:30001",
	}, nodePorts(settings.Settings{}))
	const want = "[127.0.0.1:443->30443/tcp 127.0.0.1:8080->30000/tcp 127.0.0.1:8080->30080/udp " +
		"127.0.0.9:8080->32767/tcp 127.0.0.1:65535->30001/tcp]"
	if got := fmt.Sprint(ports); got != want || len(bad) > 0 {
		t.Errorf("got %s, %v, want %s", got, bad, want)
	}
	for text, why := range map[string]string{
		"":                            "not [ADDRESS:]PORT:NODEPORT",
		"8080":                        "not [ADDRESS:]PORT:NODEPORT",
		"8080:":                       `"" is not the port of a NodePort`,
		":30080":                      `"" is not a port`,
		"0:30080":                     `"0" is not a port`,
		"65536:30080":                 `"65536" is not a port`,
		"-1:30080":                    `"-1" is not a port`,
		"8080:29999":                  `"29999" is not the port of a NodePort`,
		"8080:32768":                  `"32768" is not the port of a NodePort`,
		"x:y":                         `"x" is not a port, which is 1 to 65535` + "\n" + `"y" is not`,
		"8080:30080/":                 `"" is neither tcp nor udp`,
		"8080:30080/sctp":             `"sctp" is neither tcp nor udp`,
		"0.0.0.0:8080:30080":          "0.0.0.0 is not an IPv4 address of the loopback",
		"192.0.2.1:8080:30080":        "192.0.2.1 is not an IPv4 address of the loopback",
		"[::1]:8080:30080":            "::1 is not an IPv4 address of the loopback",
		"::1:8080:30080":              "::1 is not an IPv4 address of the loopback",
		"::ffff:127.0.0.1:8080:30080": "is not an IPv4 address of the loopback",
		"localhost:8080:30080":        `"localhost" is not an address`,
	} {
		ports, bad := parsePorts([]string{text}, nodePorts(settings.Settings{}))
		if len(ports) > 0 || bad[text] == nil || !strings.Contains(bad[text].Error(), why) {
			t.Errorf("%q: %v, %v; want %q", text, ports, bad[text], why)
		}
	}
	if _, bad := parsePorts([]string{"80:30080", "127.0.0.1:80:30081"}, nodePorts(settings.Settings{})); len(bad) != 1 {
		t.Errorf("the same port twice: %v", bad)
	}
}

func FuzzParsePort(f *testing.F) {
	for _, s := range []string{"8080:30080", "127.0.0.1:8080:30080/udp", "[::1]:1:30000", "::", ":/", "1:30000/tcp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePort(text, nodePorts(settings.Settings{}))
		if err == nil && (!p.At.Addr().IsLoopback() || !p.At.Addr().Is4() || p.At.Port() == 0 || p.To < 30000 || p.To > 32767) {
			t.Errorf("%q is %v", text, p)
		}
	})
}

// TestReserved: nodes, Services and what control planes share have no address in common, whatever the subnet is.
func TestReserved(t *testing.T) {
	for subnet, want := range map[string]string{
		"10.89.7.0/24": "10.89.7.192/27", "10.89.0.0/16": "10.89.255.192/27", "10.89.7.128/25": "10.89.7.224/28",
		"10.89.7.0/28": "10.89.7.12/31", "10.89.7.0/29": "invalid Prefix",
	} {
		s := netip.MustParsePrefix(subnet)
		r := reserved(s)
		if r.String() != want {
			t.Errorf("of %s %s is reserved, want %s", subnet, r, want)
		}
		if r.IsValid() && (r.Contains(sharedAddress(s).Addr()) || !s.Contains(r.Addr())) {
			t.Errorf("%s is in the way in %s", r, s)
		}
	}
}

// TestSubnetRoom: as many nodes as are let in find an address.
func TestSubnetRoom(t *testing.T) {
	for subnet, most := range map[string]int{"10.89.7.0/24": 190, "10.89.7.0/28": 10, "10.89.7.0/29": 4, "10.89.7.0/30": 0} {
		s := netip.MustParsePrefix(subnet)
		if checkSubnet(s, most) != nil || checkSubnet(s, most+1) == nil {
			t.Errorf("%s: %v, %v", subnet, checkSubnet(s, most), checkSubnet(s, most+1))
		}
		c := &Cluster{}
		c.Subnet, c.Network.Gateway = s, s.Addr().Next()
		for range most {
			n, err := c.newNode(false)
			if err != nil {
				t.Fatalf("%s: %v", subnet, err)
			}
			c.Nodes = append(c.Nodes, bootstrap.Node{Name: n.Name, Address: n.Address})
		}
		if n, err := c.newNode(false); err == nil {
			t.Errorf("%s: one more got %s", subnet, n.Address)
		}
	}
}

// TestPublishedNodePorts: the API server may have been given another range.
func TestPublishedNodePorts(t *testing.T) {
	for _, tt := range []struct{ asked, publish, wrong string }{
		{"", "80:30000", ""},
		{"20000-20100", "80:20100", ""},
		{"20000-20100", "80:30000", "which is 20000 to 20100"},
		{"20000+5", "80:20006", "which is 20000 to 20005"},
		{"no range", "80:30000", ""},
		{"1-65535", "80:65535", ""},
	} {
		o := Options{Publish: []string{tt.publish}}
		o.Settings.APIServer = map[string]string{"service-node-port-range": tt.asked}
		ports, bad := o.ports()
		if tt.wrong == "" && (len(ports) != 1 || len(bad) > 0) || tt.wrong != "" && !strings.Contains(fmt.Sprint(bad), tt.wrong) {
			t.Errorf("%q in the range %q: %v, %v", tt.publish, tt.asked, ports, bad)
		}
	}
}
