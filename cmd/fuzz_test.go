package cmd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
	"slipway.dev/slipway/internal/fault"
)

// FuzzUpFlags: whatever `up` is told, one argument a line, it refuses with a fault that says what to do next, or has names and networks
// that a cluster can be made with.
func FuzzUpFlags(f *testing.F) {
	f.Fuzz(func(t *testing.T, lines string) {
		var u localcluster.Options
		var flags upFlags
		c := &cobra.Command{Use: "up", SilenceErrors: true, SilenceUsage: true}
		flags.add(c, &u)
		if err := c.ParseFlags(strings.Split(lines, "\n")); err != nil {
			return
		}
		flags.complete(&u)
		if err := u.Validate(); err != nil {
			all := fault.All(err)
			if len(all) == 0 {
				t.Errorf("%q: no fault in %v", lines, err)
			}
			for _, one := range all {
				if one.ID == "" || one.Op == "" || one.Next == "" {
					t.Errorf("%q: an error says too little: %+v", lines, one)
				}
			}
			return
		}
		if err := localcluster.CheckName(u.Name); err != nil {
			t.Errorf("%q: %v", lines, err)
		}
		networks := []netip.Prefix{u.PodCIDR, u.ServiceCIDR}
		if u.Subnet.IsValid() {
			networks = append(networks, u.Subnet)
		}
		for i, n := range networks {
			if !n.IsValid() || n != n.Masked() || !n.Addr().Is4() {
				t.Errorf("%q: %v is no network", lines, n)
			}
			for _, other := range networks[:i] {
				if n.Overlaps(other) {
					t.Errorf("%q: %v overlaps %v", lines, n, other)
				}
			}
		}
	})
}
