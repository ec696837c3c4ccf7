package addons_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/addons"
)

// TestOwnControllers: the pod runs the controllers that the cluster is to have, and may do what these need and no more.
func TestOwnControllers(t *testing.T) {
	approver := func(c *addons.Config) {
		c.Approver, c.DirectHost, c.DirectPort, c.VirtualIP = true, "api.example", 6443, netip.MustParseAddr("192.0.2.9")
	}
	services := func(c *addons.Config) { c.LoadBalancers = netip.MustParsePrefix("192.0.2.192/27") }
	for name, tt := range map[string]struct {
		change  []func(*addons.Config)
		command string
		roles   []string
		waits   int
		early   bool
	}{
		"approver": {
			[]func(*addons.Config){approver}, "--approve --endpoint=api.example --endpoint=192.0.2.9", []string{"slipway:approver"}, 1, true,
		},
		"services": {[]func(*addons.Config){services}, "--service-addresses=192.0.2.192/27", []string{"slipway:service-ip"}, 0, false},
		"both": {
			[]func(*addons.Config){approver, services},
			"--approve --endpoint=api.example --endpoint=192.0.2.9 --service-addresses=192.0.2.192/27",
			[]string{"slipway:approver", "slipway:service-ip"}, 1, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := local()
			for _, change := range tt.change {
				change(&cfg)
			}
			a, ok := mustRender(t, cfg)["slipway-controllers"]
			if !ok || len(a.Waits) != tt.waits {
				t.Fatalf("rendered: %v, waits %v", ok, a.Waits)
			}
			var roles []string
			for _, u := range a.Objects {
				if u.GetKind() == "ClusterRole" {
					roles = append(roles, u.GetName())
				}
				pod := podOf(t, u)
				if pod == nil {
					continue
				}
				if got := strings.Join(pod.Containers[0].Command, " "); got != "/usr/local/bin/slipway node control "+tt.command {
					t.Errorf("the pod runs %s", got)
				}
				if early := pod.Tolerations[0].Effect == ""; early != tt.early {
					t.Errorf("it tolerates %v", pod.Tolerations)
				}
			}
			if !slices.Equal(roles, tt.roles) {
				t.Errorf("it has the roles %q", roles)
			}
		})
	}
	if a, ok := mustRender(t, local())["slipway-controllers"]; ok {
		t.Errorf("without any: %v", a.Objects)
	}
}
