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
		subnet, err := chooseSubnet(t.Context(), d, p, netip.Prefix{}, subnetBits)
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
	if _, err := chooseSubnet(t.Context(), d, p, first, subnetBits); !errors.As(err, &f) || f.ID != "subnet-in-use" {
		t.Errorf("%v was given again: %v", first, err)
	}
	s := &Snapshot{
		Version: snapshotVersion, Cluster: "gone", Name: "s", Record: Record{Version: recordVersion}, dir: snapshotAt(d, "gone", "s"),
	}
	var err error
	if s.Record.Subnet, err = chooseSubnet(t.Context(), d, p, netip.Prefix{}, subnetBits); err != nil {
		t.Fatal(err)
	}
	s.Record.Cluster.Name = s.Cluster
	if err := writeJSON(s.manifest(), s); err != nil {
		t.Fatal(err)
	}
	if third := begin("c"); third.Overlaps(s.Record.Subnet) {
		t.Errorf("a snapshot's %v is given to a cluster", third)
	}
	s.Record.Subnet = first
	if _, err := s.toRestore(t.Context(), d, s.Cluster); !errors.As(err, &f) || f.ID != "subnet-in-use" {
		t.Errorf("a restored cluster has the %v of another: %v", first, err)
	}
	free := netip.MustParsePrefix("10.88.77.0/24")
	if got, err := chooseSubnet(t.Context(), d, p, free, subnetBits); err != nil || got != free {
		t.Errorf("%v: %v", got, err)
	}
}
