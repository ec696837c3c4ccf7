package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/kmod"
)

// Everything is what to ignore for all checks to be ignored.
const Everything = "all"

// Facts are what is going to be done with the host.
type Facts struct {
	NodeName     string
	Address      netip.Addr // the node's
	ControlPlane bool
	PodCIDR      netip.Prefix
	ServiceCIDR  netip.Prefix
	Ports        []Port // that must be free, usually those of [Ports]
	EtcdDir      string // where etcd will write
	StateDir     string // where Slipway will write
	DiskNeeded   uint64 // bytes, there and where containerd keeps images
	AllowSwap    bool
	// BundleVersion and ClusterVersion are the versions of Kubernetes that the bundle has and the cluster runs.
	BundleVersion, ClusterVersion string
	// ExternalEtcd is used instead of one on the control planes; nil where they run it.
	ExternalEtcd *ExternalEtcd
	// Resuming is set where an interrupted run left files and running services that are to be taken up.
	Resuming bool
	// ClusterTime asks the cluster for the time; nil where there is no cluster yet.
	ClusterTime func(context.Context) (time.Time, error)
	// Containerd looks at the one that is on this host; nil asks it here.
	Containerd func() (*cri.Found, error)
	// ActiveUnits gives those of the named systemd units that run; nil asks systemd.
	ActiveUnits func(ctx context.Context, names ...string) ([]string, error)
	// VirtualIP is an address that the link of that name may get on this control plane: zero for none, and held where another
	// control plane has it already.
	VirtualIP     netip.Addr
	VirtualIPLink string
	VirtualIPHeld bool
	// Root is put before the names of all files that are looked at; empty for this host.
	Root string
}

func (f Facts) path(name string) string { return filepath.Join(cmp.Or(f.Root, "/"), name) }

// Finding is one thing that a check has found.
type Finding struct {
	Name    string // of the check
	Message string
	Advice  string
	// Warning is set for what a node can live with.
	Warning bool
}

func problem(format string, args ...any) Finding {
	return Finding{Message: fmt.Sprintf(format, args...)}
}

func warning(format string, args ...any) Finding {
	return Finding{Message: fmt.Sprintf(format, args...), Warning: true}
}

// advise replaces the advice that the check gives for all it finds.
func (f Finding) advise(format string, args ...any) Finding {
	f.Advice = fmt.Sprintf(format, args...)
	return f
}

// Check is one thing that is looked at.
type Check struct {
	What string // must be so, in a few words
	// Fault is what a problem becomes: its identifier, and what to do next where a finding does not say it.
	Fault fault.Error
	// Run looks. It may be called at the same time as the others.
	Run func(context.Context, Facts) []Finding

	needsRoot bool
}

// Name is what the check is ignored by: its identifier without the prefix that all share.
func (c Check) Name() string { return strings.TrimPrefix(c.Fault.ID, "preflight-") }

// Checks is the table, in the order in which findings are told.
func Checks() []Check {
	return []Check{
		{What: "this is run by root", Run: root,
			Fault: fault.Error{ID: "preflight-root", Next: "run it as root, for example with sudo"}},
		{What: "systemd runs, on a kernel that is new enough", Run: system,
			Fault: fault.Error{ID: "preflight-os", Next: "use a newer distribution, one that systemd starts"}},
		{What: "the kernel has what containers and their network are made of", Run: kernel, needsRoot: true,
			Fault: fault.Error{ID: "preflight-kernel", Next: "use a kernel that has it, for example that of the distribution"}},
		{What: "the cgroup controllers that the kubelet needs are there", Run: cgroups,
			Fault: fault.Error{ID: "preflight-cgroups", Next: "enable it on the kernel's command line, for example with cgroup_enable=memory"}},
		{What: "there is memory enough", Run: memory,
			Fault: fault.Error{ID: "preflight-memory", Next: "give this host more memory"}},
		{What: "a control plane has two CPUs", Run: cpus,
			Fault: fault.Error{ID: "preflight-cpu", Next: "give this host more CPUs"}},
		{What: "there is room on disk", Run: disk,
			Fault: fault.Error{ID: "preflight-disk", Next: "free some space, or mount a larger disk there"}},
		{What: "a control plane's disk is fast enough for etcd", Run: etcdDisk, needsRoot: true,
			Fault: fault.Error{ID: "preflight-etcd-disk", Next: "use a local SSD for etcd, and let nothing else write much to it"}},
		{What: "the external etcd answers, is new enough, and holds no other cluster", Run: externalEtcd,
			Fault: fault.Error{ID: "preflight-etcd", Next: "look whether etcd runs there, lets this host in, and trusts the certificate; " +
				"its address must be among the names of its own"}},
		{What: "the bundle has what the cluster runs on each node", Run: bundle,
			Fault: fault.Error{ID: "preflight-bundle",
				Next: "use a bundle of the cluster's version; or ignore this if this host pulls images from a registry that has it"}},
		{What: "there is no swap", Run: swap,
			Fault: fault.Error{ID: "preflight-swap", Next: `turn it off with "swapoff -a", and take it out of /etc/fstab`}},
		{What: "the ports of a node are free", Run: ports,
			Fault: fault.Error{ID: "preflight-ports", Next: "stop what listens there, or let it listen elsewhere"}},
		{What: "the node's name is valid and can be resolved", Run: hostname,
			Fault: fault.Error{ID: "preflight-hostname", Next: "choose another name for the node, or put it in /etc/hosts"}},
		{What: "the clock agrees with the cluster's", Run: clock,
			Fault: fault.Error{ID: "preflight-clock", Next: "set the clock, and let NTP keep it, for example with systemd-timesyncd"}},
		{What: "packets of pods fit through the network", Run: mtu,
			Fault: fault.Error{ID: "preflight-mtu", Next: "raise the MTU of the link, or use another address of this host"}},
		{What: "the node's address is this host's, and nothing uses the cluster's ranges", Run: address,
			Fault: fault.Error{ID: "preflight-address", Next: "choose another address or range, or remove what uses it"}},
		{What: "the virtual IP fits into this host's network, and nobody else has it", Run: virtualIP, needsRoot: true,
			Fault: fault.Error{ID: "preflight-virtual-ip", Next: "choose another address for --virtual-ip"}},
		{What: "nothing is left of another installation", Run: leftovers,
			Fault: fault.Error{ID: "preflight-leftovers", Next: "remove the other installation with its own tool, for example kubeadm reset"}},
		{What: "no other container runtime is in the way", Run: containerRuntime,
			Fault: fault.Error{ID: "preflight-runtime", Next: "stop and disable it, or remove its package"}},
		{What: "no firewall is in the way", Run: firewall, needsRoot: true,
			Fault: fault.Error{ID: "preflight-firewall", Next: "let the ports of the cluster in"}},
	}
}

// Run runs all checks at the same time. The error joins one fault for each problem; what is ignored, by the names of
// checks, is among the warnings. Where the context ends first, that is the error, and nothing else is told. Kernel modules that
// were loaded by trying what they are for are unloaded again.
func Run(ctx context.Context, f Facts, ignore []string) (warnings []Finding, err error) {
	checks := Checks()
	if err := knownNames(checks, ignore); err != nil {
		return nil, err
	}
	loaded, err := kmod.Loaded()
	if err != nil {
		return nil, err
	}
	found, err := runAll(ctx, checks, f)
	if err := errors.Join(err, kmod.UnloadSince(loaded)); err != nil {
		return nil, err
	}
	var problems []error
	for i, c := range checks {
		ignored := slices.Contains(ignore, c.Name()) || slices.Contains(ignore, Everything)
		for _, finding := range found[i] {
			finding.Name, finding.Advice = c.Name(), cmp.Or(finding.Advice, c.Fault.Next)
			if finding.Warning || ignored {
				finding.Warning = true
				warnings = append(warnings, finding)
				continue
			}
			problems = append(problems, c.fault(finding))
		}
	}
	return warnings, errors.Join(problems...)
}

// One runs one check. The error joins one fault for each problem.
func One(ctx context.Context, name string, f Facts) error {
	checks := Checks()
	if err := knownNames(checks, []string{name}); err != nil {
		return err
	}
	var problems []error
	for _, c := range checks {
		if c.Name() != name {
			continue
		}
		for _, finding := range c.Run(ctx, f) {
			finding.Advice = cmp.Or(finding.Advice, c.Fault.Next)
			if !finding.Warning {
				problems = append(problems, c.fault(finding))
			}
		}
	}
	return errors.Join(problems...)
}

func (c Check) fault(f Finding) error {
	out := c.Fault
	out.Op, out.Err, out.Next = "make this host a node", errors.New(f.Message), f.Advice
	return &out
}

// cleanLimit is for checks to remove what they tried with when the context ends.
const cleanLimit = time.Second

// runAll gives what each check has found. When the context ends it does not wait for one that hangs, as on a disk that
// does not answer.
func runAll(ctx context.Context, checks []Check, f Facts) ([][]Finding, error) {
	found := make([][]Finding, len(checks))
	done := make(chan struct{})
	var running sync.WaitGroup
	for i, c := range checks {
		if c.needsRoot && os.Geteuid() != 0 {
			continue // the check named root says that it is missing
		}
		running.Go(func() { found[i] = c.Run(ctx, f) })
	}
	go func() {
		running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done:
		case <-time.After(cleanLimit):
		}
	}
	// A check that the end of the context has cut short has found what is not so.
	if ctx.Err() != nil {
		return nil, fmt.Errorf("look at this host: %w", context.Cause(ctx))
	}
	return found, nil
}

func knownNames(checks []Check, names []string) error {
	known := []string{Everything}
	for _, c := range checks {
		known = append(known, c.Name())
	}
	var unknown []string
	for _, name := range names {
		if !slices.Contains(known, name) {
			unknown = append(unknown, fmt.Sprintf("%q", name))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return fault.New("preflight-unknown", "ignore "+strings.Join(unknown, ", "),
		errors.New("there is no check of that name"), "name one of: "+strings.Join(known, ", "))
}
