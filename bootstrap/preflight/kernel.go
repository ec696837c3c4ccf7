package preflight

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// feature is something that the kernel must have, usually as a module.
type feature struct {
	what   string
	advice string
	try    func() error
}

func modprobe(module string) string {
	return fmt.Sprintf("load the module with \"modprobe %s\", or use a kernel that has it", module)
}

// features are tried where that is possible: the kernel then loads the module.
func features(ctx context.Context, f Facts) []feature {
	return []feature{
		{"overlay file systems", modprobe("overlay") + ", or have " + containerdDir + " on a disk with ext4 or xfs", func() error {
			return tryOverlay(existing(f.path(containerdDir)))
		}},
		{"bridge netfilter", modprobe("br_netfilter"), func() error { return bridgeNetfilter(ctx, f) }},
		{"veth links", modprobe("veth"), func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth0"}, PeerName: "veth1"})
		}},
		{"VXLAN links", modprobe("vxlan"), func() error {
			return netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan0"}, VxlanId: 1, Port: 4789})
		}},
		{"nf_tables", modprobe("nf_tables"), tryRule()},
		// What kube-proxy's rules are made of.
		{"connection tracking in nf_tables", modprobe("nft_ct"), tryRule(&expr.Ct{Key: expr.CtKeySTATE, Register: 1})},
		{"masquerading in nf_tables", modprobe("nft_masq"), tryRule(&expr.Masq{})},
		{"random choice in nf_tables", modprobe("nft_numgen"), tryRule(&expr.Numgen{Register: 1, Modulus: 2, Type: unix.NFT_NG_RANDOM})},
		{"route look-ups in nf_tables", modprobe("nft_fib_ipv4"), tryRule(&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true})},
	}
}

func kernel(ctx context.Context, f Facts) []Finding {
	var out []Finding
	err := inScratch(func() error {
		for _, want := range features(ctx, f) {
			if err := want.try(); err != nil {
				out = append(out, problem("the kernel does not let %s be used: %v", want.what, err).advise("%s", want.advice))
			}
		}
		return nil
	})
	if err != nil {
		out = append(out, problem("namespaces, which containers are made of, cannot be made: %v", err).advise("use a kernel that has them"))
	}
	return out
}

// bridgeNetfilter is content with a module that could be loaded.
func bridgeNetfilter(ctx context.Context, f Facts) error {
	_, err := os.Stat(f.path("/proc/sys/net/bridge"))
	if err == nil || exec.CommandContext(ctx, "modprobe", "--dry-run", "--quiet", "br_netfilter").Run() == nil {
		return nil
	}
	return err
}

// inScratch runs do in network and mount namespaces that go with the thread: that stays locked to its goroutine, and so
// ends with it. The main thread would not, and shows its namespaces as those of the process, so it is not taken.
func inScratch(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- inScratch(do) // in another goroutine, which gets another thread as this one is taken
			return
		}
		err := enterScratch()
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

func enterScratch() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to oneself: %w", err)
	}
	return nil
}

// scratch is how the names of files begin that checks try with, for others that look at the same directory.
const scratch = ".slipway-preflight-"

// tryOverlay mounts one below dir: not every file system can be its upper layer, an overlay itself least of all.
func tryOverlay(dir string) error {
	tmp, err := os.MkdirTemp(dir, scratch+"*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(tmp, name), 0o700); err != nil {
			return err
		}
	}
	merged := filepath.Join(tmp, "merged")
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", tmp)
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount one whose upper layer is below %q: %w", dir, err)
	}
	return unix.Unmount(merged, 0)
}

// tryRule makes a table, a chain for source addresses and a rule, all in one and gone with the namespace.
func tryRule(parts ...expr.Any) func() error {
	return func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "preflight", Family: nftables.TableFamilyIPv4})
		chain := c.AddChain(&nftables.Chain{
			Name: "nat", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
		})
		if len(parts) > 0 {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: parts})
		}
		return c.Flush()
	}
}
