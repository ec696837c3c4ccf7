package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// MachineOptions say what bare machines to make.
type MachineOptions struct {
	Name   string
	Count  int
	Bundle string // directory, or reference to a registry; empty: the default one
	Egress bool
	Subnet netip.Prefix // zero: the first free one
	// Shares are directories of this computer that the machines see, read-only.
	Shares []Share
	Wait   time.Duration
	// Registry says how one is trusted.
	Registry registry.Options
}

// Share is a directory of this computer and where machines see it.
type Share struct{ Source, Target string }

func (o MachineOptions) validate() error {
	errs := []error{CheckName(o.Name)}
	bad := func(what string, err error) {
		errs = append(errs, fault.New("option-invalid", what, err, "see `slipway machines up --help`"))
	}
	if o.Count < 1 || o.Count > maxNodes {
		bad(fmt.Sprintf("use --count %d", o.Count), fmt.Errorf("it is between 1 and %d", maxNodes))
	}
	if err := checkSubnet(o.Subnet, o.Count); err != nil {
		bad(fmt.Sprintf("use --subnet %v", o.Subnet), err)
	}
	if o.Wait <= 0 {
		bad(fmt.Sprintf("use --wait %v", o.Wait), errors.New("it is not a time to wait"))
	}
	for _, s := range o.Shares {
		if st, err := os.Stat(s.Source); err != nil || !st.IsDir() || !filepath.IsAbs(s.Target) {
			bad(fmt.Sprintf("use --share %s:%s", s.Source, s.Target), errors.New("it is a directory here and an absolute path there"))
		}
	}
	return errors.Join(errs...)
}

// UpMachines makes machines with nothing on them but an operating system: servers to try host tooling on. Those that
// are there already are started if they do not run.
func UpMachines(ctx context.Context, d Dirs, o MachineOptions, report engine.Report) (*Cluster, error) {
	if err := errors.Join(o.validate(), local.CheckRoot()); err != nil {
		return nil, err
	}
	unlock, err := lock(d, o.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c, err := Open(d, o.Name)
	var f *fault.Error
	switch {
	case errors.As(err, &f) && f.ID == "cluster-unknown":
		c, err = beginMachines(ctx, d, o, report)
	case err == nil:
		err = c.sameMachines(o)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait, fault.New("not-ready-in-time",
		fmt.Sprintf("start the machines of %q", o.Name), fmt.Errorf("it took longer than %v", o.Wait),
		"run the same command with a longer --wait: it goes on where it stopped"))
	defer cancel()
	return c, c.explain(inTime(ctx, c.startMachines(ctx, report)))
}

// beginMachines checks everything, and only then writes the first file.
func beginMachines(ctx context.Context, d Dirs, o MachineOptions, report engine.Report) (*Cluster, error) {
	release, err := useStore(ctx, d)
	if err != nil {
		return nil, err
	}
	defer release()
	u, b, err := prepare(ctx, d, Options{Bundle: o.Bundle, Registry: o.Registry}, report)
	if err != nil {
		return nil, err
	}
	unlock, err := lockSubnets(ctx, d)
	if err != nil {
		return nil, err
	}
	defer unlock()
	p := local.New(local.Config{StateDir: d.State, RunDir: d.Run, Runc: runcOf(u)})
	if o.Subnet, err = chooseSubnet(ctx, d, p, o.Subnet, subnetBits); err != nil {
		return nil, err
	}
	c := &Cluster{dirs: d, Record: newMachinesRecord(o)}
	c.Bundle, c.Layers = b.Dir(), []string{u.Rootfs}
	if err := p.CheckNetwork(ctx, c.Network); err != nil {
		return nil, err
	}
	key, err := newSSHKey()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(writeFile(c.SSHKeyFile(), key), copyProgram(runcOf(u), c.file("runc"))); err != nil {
		return nil, err
	}
	return c, c.save()
}

func newMachinesRecord(o MachineOptions) Record {
	gateway := o.Subnet.Masked().Addr().Next()
	r := Record{
		Version: recordVersion, Created: time.Now().UTC(), Bare: true, Subnet: o.Subnet, Shares: o.Shares,
		Cluster: bootstrap.Cluster{Name: o.Name},
		Network: local.Network{Cluster: o.Name, Subnet: o.Subnet, Gateway: gateway, Egress: o.Egress},
	}
	if o.Egress {
		r.Resolvers = resolvers()
	}
	address := gateway
	for i := range o.Count {
		address = address.Next()
		r.Nodes = append(r.Nodes, bootstrap.Node{Name: fmt.Sprintf("%s-%d", o.Name, i+1), Address: address})
	}
	return r
}

func (c *Cluster) sameMachines(o MachineOptions) error {
	same := c.Bare && !c.Removing && len(c.Nodes) == o.Count && c.Network.Egress == o.Egress &&
		(!o.Subnet.IsValid() || o.Subnet == c.Subnet) && fmt.Sprint(c.Shares) == fmt.Sprint(o.Shares)
	if same {
		return nil
	}
	return fault.New("cluster-differs", fmt.Sprintf("start the machines of %q", o.Name),
		errors.New("that name is in use, with other settings"),
		"use the same settings, another --name, or remove it first with `slipway down "+o.Name+"`")
}

func (c *Cluster) startMachines(ctx context.Context, report engine.Report) error {
	p := c.provider()
	if err := errors.Join(c.checkLayers(), p.EnsureNetwork(ctx, c.Network)); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		g.Go(func() error {
			return engine.Run(gctx, n.Name, []engine.Step{oneStep("machine", func(ctx context.Context, _ func(string)) error {
				spec, err := c.machineSpec(n)
				if err != nil {
					return err
				}
				m, err := p.Create(ctx, spec)
				if err == nil && m.State() == local.Paused {
					err = c.paused()
				}
				return err
			})}, report)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.Ready = true
	return c.save()
}

// anywhere is the default route of machines that cannot leave this computer: a server has one, and the kernel needs it to
// send to a service's address, before that is translated. It ends on the bridge, where nobody answers.
func anywhere() netip.Prefix { return netip.PrefixFrom(netip.IPv4Unspecified(), 0) }

// bareBinds are the plain directories that a container runtime, the kubelet and etcd write to, and what is shared.
func (c *Cluster) bareBinds() []local.Bind {
	binds := dataBinds()
	for _, s := range c.Shares {
		binds = append(binds, local.Bind{Source: s.Source, Target: s.Target, ReadOnly: true})
	}
	return binds
}
