package localcluster

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/testenv"
	"slipway.dev/slipway/providers/local"
)

// TestChooseSubnet: what a launch has written down is taken, though nothing of it is made yet.
func TestChooseSubnet(t *testing.T) {
	if os.Geteuid() != 0 {
		testenv.Lacks(t, "needs root")
	}
	d := Dirs{State: t.TempDir(), Run: t.TempDir()}
	p := local.New(local.Config{StateDir: d.State, RunDir: d.Run})
	begin := func(name string) netip.Prefix {
		t.Helper()
		subnet, err := chooseSubnet(t.Context(), d, p, netip.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		c := &Cluster{dirs: d, Record: Record{Version: recordVersion, Subnet: subnet}}
		c.Cluster.Name = name
		if err := c.save(); err != nil {
			t.Fatal(err)
		}
		return subnet
	}
	first := begin("a")
	if err := writeFile(filepath.Join(home(d, "damaged"), "cluster.json"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if second := begin("b"); second.Overlaps(first) {
		t.Errorf("both have %v", first)
	}
	var f *fault.Error
	if _, err := chooseSubnet(t.Context(), d, p, first); !errors.As(err, &f) || f.ID != "subnet-in-use" {
		t.Errorf("%v was given again: %v", first, err)
	}
	free := netip.MustParsePrefix("10.88.77.0/24")
	if got, err := chooseSubnet(t.Context(), d, p, free); err != nil || got != free {
		t.Errorf("%v: %v", got, err)
	}
}
