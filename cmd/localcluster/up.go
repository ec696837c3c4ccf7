package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// bundleTarget is where a machine sees the bundle.
const bundleTarget = "/var/lib/slipway/bundle"

// Up launches the cluster, or completes one that was interrupted. One that is up is left as it is.
func Up(ctx context.Context, d Dirs, o Options, report engine.Report) (*Cluster, error) {
	archives, err := OpenArchives(ctx, d, o.Images)
	mirrors, merr := parseMirrors(o.Mirrors, o.Registry.CA)
	if err := errors.Join(o.Validate(), local.CheckRoot(), merr, err); err != nil {
		archives.Close()
		return nil, err
	}
	defer archives.Close()
	o.archives, o.mirrors = archives, mirrors
	unlock, err := lock(d, o.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c, err := openOrBegin(ctx, d, o, report)
	if err != nil {
		return nil, err
	}
	if c.source != nil {
		defer c.source.close()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait, fault.New("not-ready-in-time",
		fmt.Sprintf("bring up cluster %q", o.Name), fmt.Errorf("it took longer than %v", o.Wait),
		"run the same command with a longer --wait: it goes on where it stopped"))
	defer cancel()
	finish := c.bringUp
	if c.Ready {
		finish = c.confirm
	}
	if err := finish(ctx, o, report); err != nil {
		return nil, inTime(ctx, err)
	}
	return c, nil
}

// openOrBegin gives the cluster that is to be launched, or whose launch is to be completed.
func openOrBegin(ctx context.Context, d Dirs, o Options, report engine.Report) (*Cluster, error) {
	c, err := Open(d, o.Name)
	var f *fault.Error
	switch {
	case errors.As(err, &f) && f.ID == "cluster-unknown":
		c, err = begin(ctx, d, o, report)
	case err == nil && c.Removing:
		err = c.removing("launch")
	case err == nil && c.Restoring != "":
		err = c.restoring("launch")
	case err == nil:
		err = c.same(o)
	}
	if err == nil && c.From != "" && !c.Ready {
		c.source, err = findSnapshot(d, c.From)
	}
	return c, err
}

// inTime adds that the time was up to what was going on when it was.
func inTime(ctx context.Context, err error) error {
	var late *fault.Error
	if cause := context.Cause(ctx); errors.As(cause, &late) && !errors.Is(err, cause) {
		return errors.Join(late, err)
	}
	return err
}

// begin checks everything, and only then writes the first file.
func begin(ctx context.Context, d Dirs, o Options, report engine.Report) (*Cluster, error) {
	if o.From != "" {
		return beginFrom(ctx, d, o, report)
	}
	u, b, err := prepare(ctx, d, o, report)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dirs: d}
	p := local.New(local.Config{StateDir: d.State, RunDir: d.Run, Runc: runcOf(u)})
	if !o.Subnet.IsValid() {
		if o.Subnet, err = p.FreeSubnet(ctx, poolPrefix(), subnetBits, o.PodCIDR, o.ServiceCIDR); err != nil {
			return nil, err
		}
	}
	self, err := ownLayer(d)
	if err != nil {
		return nil, err
	}
	c.Record = newRecord(o, b, u, self)
	if err := p.CheckNetwork(ctx, c.Network); err != nil {
		return nil, err
	}
	cas, err := certs.NewAuthorities(c.Keys, time.Now())
	if err != nil {
		return nil, fmt.Errorf("make certificate authorities: %w", err)
	}
	plan, err := fleet.NewPlan(c.Cluster, c.Nodes, cas, bundleTarget, time.Now())
	if err != nil {
		return nil, err
	}
	key, err := newSSHKey()
	if err != nil {
		return nil, err
	}
	err = errors.Join(writeJSON(c.file("plan.json"), plan), writeFile(c.KubeconfigFile(), plan.Kubeconfig),
		writeFile(c.SSHKeyFile(), key), copyProgram(runcOf(u), c.file("runc")))
	if err != nil {
		return nil, err
	}
	return c, c.save() // last: a cluster without a record never began
}

func runcOf(u *images.Unpacked) string { return filepath.Join(u.Files, "usr/local/sbin/runc") }

// prepare runs every check that needs no cluster, all problems at once, and unpacks the bundle.
func prepare(ctx context.Context, d Dirs, o Options, report engine.Report) (*images.Unpacked, *images.Bundle, error) {
	p := local.New(local.Config{StateDir: d.State, RunDir: d.Run})
	var b *images.Bundle
	dir, berr := bundleDir(d, o)
	if berr == nil && askedRef(o) == "" {
		b, berr = openBundle(dir, o)
	}
	if b != nil && o.version() == "" {
		berr = errors.Join(berr, o.checkSettings(b.KubernetesVersion()))
	}
	err := errors.Join(p.Check(ctx), certs.CheckKubeconfig(o.Kubeconfig), berr, checkSpace(d.State), o.archives.verified(ctx, report))
	if err == nil && b == nil { // it may be large, and is not pulled in vain
		if b, err = pullBundle(ctx, d, o, report); err == nil {
			err = o.checkSettings(b.KubernetesVersion())
		}
	}
	if err != nil {
		return nil, nil, err
	}
	var u *images.Unpacked
	err = engine.Run(ctx, "", []engine.Step{
		oneStep("unpack-bundle", func(ctx context.Context, progress func(string)) (err error) {
			u, err = b.Unpack(ctx, filepath.Join(d.Cache, "store"), progress)
			return err
		}),
	}, report)
	return u, b, err
}

// bringUp makes the network, then all machines and nodes at the same time.
func (c *Cluster) bringUp(ctx context.Context, o Options, report engine.Report) error {
	plan, err := c.plan()
	if err != nil {
		return err
	}
	p := c.provider()
	if err := p.EnsureNetwork(ctx, c.Network); err != nil {
		return err
	}
	loads := launchLoads{archives: o.archives, report: report}
	lctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := func(ctx context.Context, s *bootstrap.NodeSpec) (*fleet.Host, error) {
		m, err := c.machine(ctx, p, s, report)
		if err != nil {
			return nil, err
		}
		loads.begin(lctx, m)
		return hostOf(m), nil
	}
	if err := fleet.Converge(ctx, plan.Specs, ready, report); err != nil {
		stop()
		_ = loads.wait() // it was stopped
		return err
	}
	notLoaded := loads.wait()
	if err := c.merge(o.Kubeconfig); err != nil {
		return err
	}
	if c.source != nil { // what its pods were, they shall be
		if err := c.settle(ctx, true, report); err != nil {
			return err
		}
	}
	c.Ready = true
	if err := c.save(); err != nil {
		return err
	}
	return errors.Join(c.forgetKeys(), notLoaded)
}

// forgetKeys removes the plan of a cluster that is up: its control planes have the keys of the authorities.
func (c *Cluster) forgetKeys() error {
	if err := os.Remove(c.file("plan.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the plan of cluster %q: %w", c.Name(), err)
	}
	return nil
}

func (c *Cluster) plan() (*fleet.Plan, error) {
	data, err := os.ReadFile(c.file("plan.json"))
	if err != nil {
		return nil, fmt.Errorf("read the plan of cluster %q: %w", c.Name(), err)
	}
	var p fleet.Plan
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("read the plan of cluster %q: %w", c.Name(), err)
	}
	return &p, nil
}

// machine makes one machine, as a step of its own in the events.
func (c *Cluster) machine(
	ctx context.Context, p *local.Provider, s *bootstrap.NodeSpec, report engine.Report,
) (m *local.Machine, err error) {
	err = engine.Run(ctx, s.Node.Name, []engine.Step{
		oneStep("machine", func(ctx context.Context, _ func(string)) error {
			if err := c.layOut(ctx, s.Node); err != nil {
				return err
			}
			spec, err := c.machineSpec(s.Node)
			if err != nil {
				return err
			}
			m, err = p.Create(ctx, spec)
			return err
		}),
	}, report)
	return m, err
}

// layOut fills the directories of a machine that is to be made.
func (c *Cluster) layOut(ctx context.Context, n bootstrap.Node) error {
	if c.source != nil {
		return c.copyMachine(ctx, n)
	}
	store := filepath.Join(c.provider().MachineDir(c.Name(), n.Name), storeDir)
	return (&images.Unpacked{Containerd: c.Store}).CloneContainerd(store)
}

// hostOf is the way to a machine.
func hostOf(m *local.Machine) *fleet.Host {
	return &fleet.Host{Name: m.Name(), Run: func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
		return m.Run(ctx, local.Command{Args: args, Stdin: stdin, Stdout: stdout, Stderr: stderr})
	}}
}
