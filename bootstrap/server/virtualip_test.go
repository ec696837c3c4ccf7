package server

import (
	"net/netip"
	"slices"
	"testing"

	"slipway.dev/slipway/bootstrap/fleet"
)

func TestVirtualIP(t *testing.T) {
	base := InitOptions{PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16")}
	for text, good := range map[string]bool{
		"192.0.2.100/32": true, "192.0.2.100/24": true, "10.244.7.7/32": false, "10.96.0.1/32": false, "127.0.0.1/32": false,
		"0.0.0.0/32": false, "224.0.0.5/32": false, "2001:db8::1/128": false, "169.254.0.1/32": false,
	} {
		o := base
		o.VirtualIP = netip.MustParsePrefix(text)
		if err := o.checkVirtualIP(); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := base.checkVirtualIP(); err != nil {
		t.Error(err)
	}
	base.VirtualIPInterface = "eth0"
	if base.checkVirtualIP() == nil {
		t.Error("an interface without an address for it is taken")
	}
}

// TestEndpoint: the virtual IP is where the API is reached, unless the administrator knows better.
func TestEndpoint(t *testing.T) {
	own := netip.MustParseAddr("192.0.2.11")
	vip := netip.MustParsePrefix("192.0.2.100/32")
	for _, tt := range []struct {
		o    InitOptions
		want string
	}{
		{InitOptions{}, "192.0.2.11:6443"},
		{InitOptions{VirtualIP: vip}, "192.0.2.100:6443"},
		{InitOptions{VirtualIP: vip, Endpoint: "api.example"}, "api.example:6443"},
	} {
		if got, err := tt.o.endpoint(own); err != nil || got != tt.want {
			t.Errorf("%q, %v, want %q", got, err, tt.want)
		}
	}
	c := testCluster()
	c.VirtualIP = vip
	if sans := fleet.PKI(c).ExtraSANs; !slices.Contains(sans, "192.0.2.100") || !slices.Contains(sans, "api.example") {
		t.Errorf("certificates are for %q", sans)
	}
}
