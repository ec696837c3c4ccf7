package localcluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
	"slipway.dev/slipway/providers/local"
)

// lockSubnets lets one launch at a time choose a subnet, until its record says which. Two that begin at the same moment would
// find the same one free.
func lockSubnets(ctx context.Context, d Dirs) (func(), error) {
	held, err := flock.Wait(ctx, subnetsLock(d), flock.Exclusive)
	if err != nil {
		return nil, fmt.Errorf("wait for another slipway: %w", err)
	}
	return held.Remove, nil
}

func subnetsLock(d Dirs) string { return filepath.Join(d.Run, "locks", "subnets") }

// dropSubnetsLock removes the lock of a launch that was killed while it had it.
func dropSubnetsLock(d Dirs) {
	if _, err := os.Stat(subnetsLock(d)); err != nil {
		return
	}
	if held, err := flock.Try(subnetsLock(d), flock.Exclusive); err == nil {
		held.Remove()
	}
}

// chooseSubnet gives the wanted subnet, or the first free one of that length. What is only recorded yet is taken too.
func chooseSubnet(ctx context.Context, d Dirs, p *local.Provider, want netip.Prefix, bits int,
	avoid ...netip.Prefix,
) (netip.Prefix, error) {
	files, err := filepath.Glob(filepath.Join(d.State, "clusters", "*", "cluster.json"))
	if err != nil {
		return want, fmt.Errorf("list clusters: %w", err)
	}
	for _, f := range files {
		c, err := Open(d, filepath.Base(filepath.Dir(f)))
		if err != nil { // of one that is damaged, the provider knows the network
			continue
		}
		if want.IsValid() && want.Overlaps(c.Subnet) {
			return want, fault.New("subnet-in-use", fmt.Sprintf("use %s for the machines", want),
				fmt.Errorf("%s is that of cluster %q", c.Subnet, c.Name()), "choose another range, or remove that cluster")
		}
		avoid = append(append(avoid, c.Subnet), c.Network.Fenced...)
	}
	if want.IsValid() {
		return want, nil
	}
	saved, err := savedSubnets(d)
	if err != nil {
		return want, err
	}
	avoid = append(avoid, saved...)
	return p.FreeSubnet(ctx, poolPrefix(), bits, avoid...)
}

// savedSubnets are those that clusters would have again if their snapshots were restored. Who asks for one of them gets it.
func savedSubnets(d Dirs) (out []netip.Prefix, _ error) {
	files, err := snapshotFiles(d, "*")
	for _, f := range files {
		if s, err := readSnapshot(filepath.Dir(f)); err == nil { // what cannot be read cannot be restored
			out = append(out, s.Record.Subnet)
		}
	}
	return out, err
}
