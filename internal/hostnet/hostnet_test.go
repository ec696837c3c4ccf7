package hostnet_test

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"slipway.dev/slipway/internal/hostnet"
	"slipway.dev/slipway/internal/testenv"
)

func TestListAsksAgain(t *testing.T) {
	asked := 0
	got, err := hostnet.List(func() ([]int, error) {
		if asked++; asked < 3 {
			return nil, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if err != nil || !slices.Equal(got, []int{1, 2}) {
		t.Errorf("%v, %v after %d times", got, err, asked)
	}
	other := errors.New("another")
	if _, err := hostnet.List(func() ([]int, error) { return nil, other }); !errors.Is(err, other) {
		t.Errorf("%v", err)
	}
	if _, err := hostnet.List(func() ([]int, error) { return nil, netlink.ErrDumpInterrupted }); !errors.Is(err, netlink.ErrDumpInterrupted) {
		t.Errorf("%v", err)
	}
}

func TestRoutes(t *testing.T) {
	if os.Geteuid() != 0 {
		testenv.Lacks(t, "a network namespace needs root")
	}
	runtime.LockOSThread() // the thread ends with the test, and its namespace with it
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	for _, args := range [][]string{
		{"link", "set", "lo", "up"}, {"link", "add", "br0", "type", "bridge"}, {"addr", "add", "192.0.2.7/24", "dev", "br0"},
		{"link", "set", "br0", "up"}, {"route", "add", "198.51.100.0/24", "dev", "br0", "table", "77"},
		{"route", "add", "default", "via", "192.0.2.1"}, {"route", "add", "128.0.0.0/1", "via", "192.0.2.1"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	all, err := hostnet.Routes(netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	var got []netip.Prefix
	for i := range all {
		got = append(got, hostnet.Prefix(all[i].Dst))
	}
	for _, want := range []string{"192.0.2.0/24", "198.51.100.0/24"} {
		if !slices.Contains(got, netip.MustParsePrefix(want)) {
			t.Errorf("%s is not among %v", want, got)
		}
	}
	if slices.ContainsFunc(got, func(p netip.Prefix) bool { return p.Bits() <= 1 }) {
		t.Errorf("a default route is among %v", got)
	}
}
