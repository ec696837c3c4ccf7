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

// Up launches the cluster, or completes one that was interrupted. One that is up is left as it is. What this very call began and
// could not complete is removed again, unless it is to be kept or was interrupted by ctx.
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
	c, err := Open(d, o.Name)
	var f *fault.Error
	switch {
	case errors.As(err, &f) && f.ID == "cluster-unknown":
		return launch(ctx, d, o, report)
	case err == nil && c.Removing:
		err = c.removing("launch")
	case err == nil && c.Restoring != "":
		err = c.restoring("launch")
	case err == nil:
		err = c.same(o)
	}
	if err != nil {
		return nil, err
	}
	return c, c.explain(c.finish(ctx, o, report))
}

// launch is for a cluster that was never begun.
func launch(ctx context.Context, d Dirs, o Options, report engine.Report) (*Cluster, error) {
	_, err := os.Stat(home(d, o.Name))
	was := err == nil // something is left there of which nobody knows what it is
	c, err := begin(ctx, d, o, report)
	if err == nil {
		err = c.finish(ctx, o, report)
	}
	if err == nil || was || o.Keep || ctx.Err() != nil || c.Ready { // ready: it came up, and only images of the user's were not loaded
		return c, c.explain(err)
	}
	return nil, errors.Join(c.explain(err), c.takeBack(context.WithoutCancel(ctx), report))
}

// finish brings up what was begun, or confirms that it is up, as long as that may take.
func (c *Cluster) finish(ctx context.Context, o Options, report engine.Report) error {
	if c.From != "" && !c.Ready {
		var err error
		if c.source, err = findSnapshot(c.dirs, c.From); err != nil {
			return err
		}
		defer c.source.close()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait, fault.New("not-ready-in-time",
		fmt.Sprintf("bring up cluster %q", o.Name), fmt.Errorf("it took longer than %v", o.Wait), "run the same command with a longer --wait"))
	defer cancel()
	finish := c.bringUp
	if c.Ready {
		finish = c.confirm
	}
	return inTime(ctx, finish(ctx, o, report))
}

// takeBack removes a cluster that this call began.
func (c *Cluster) takeBack(ctx context.Context, report engine.Report) error {
	if _, err := os.Stat(home(c.dirs, c.Name())); errors.Is(err, fs.ErrNotExist) {
		return nil // it failed before the first file
	}
	err := engine.Run(ctx, "", []engine.Step{
		oneStep("take-back", func(ctx context.Context, _ func(string)) error { return c.remove(ctx) }),
	}, report)
	if err != nil {
		return err
	}
	return fault.New("launch-undone", fmt.Sprintf("keep cluster %q", c.Name()),
		errors.New("this run began it and failed, and so removed it again"), "to look at what it made, run it with --keep")
}

// inTime adds that the time was up to what was going on when it was.
func inTime(ctx context.Context, err error) error {
	var late *fault.Error
	if cause := context.Cause(ctx); errors.As(cause, &late) && !errors.Is(err, cause) {
		return errors.Join(late, err)
	}
	return err
}

// begin checks everything, and only then writes the first file of the cluster; that this cache is used is noted before.
func begin(ctx context.Context, d Dirs, o Options, report engine.Report) (*Cluster, error) {
	c := &Cluster{dirs: d}
	c.Cluster.Name = o.Name
	release, err := useStore(ctx, d)
	if err != nil {
		return c, err
	}
	defer release()
	if o.From != "" {
		return c, c.beginFrom(ctx, o)
	}
	u, b, err := prepare(ctx, d, o, report)
	if err != nil {
		return c, err
	}
	self, err := ownLayer(d)
	if err != nil {
		return c, err
	}
	unlock, err := lockSubnets(ctx, d)
	if err != nil {
		return c, err
	}
	defer unlock()
	p := local.New(local.Config{StateDir: d.State, RunDir: d.Run, Runc: runcOf(u)})
	if o.Subnet, err = chooseSubnet(ctx, d, p, o.Subnet, subnetBits, o.PodCIDR, o.ServiceCIDR); err != nil {
		return c, err
	}
	c.Record = newRecord(o, b, u, self)
	if err := p.CheckNetwork(ctx, c.Network); err != nil {
		return c, err
	}
	return c, c.writeFirst(runcOf(u))
}

// writeFirst makes the secrets of the cluster and writes them down.
func (c *Cluster) writeFirst(runc string) error {
	cas, err := certs.NewAuthorities(c.Keys, time.Now())
	if err != nil {
		return fmt.Errorf("make certificate authorities: %w", err)
	}
	plan, err := fleet.NewPlan(c.Cluster, c.Nodes, cas, bundleTarget, time.Now())
	if err != nil {
		return err
	}
	key, err := newSSHKey()
	if err != nil {
		return err
	}
	err = errors.Join(writeJSON(c.file("plan.json"), plan), writeFile(c.KubeconfigFile(), plan.Kubeconfig),
		writeFile(c.SSHKeyFile(), key), copyProgram(runc, c.file("runc")))
	if err != nil {
		return err
	}
	return c.save() // last: a cluster without a record never began
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
			u, err = b.Unpack(ctx, store(d), progress)
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
	if err := errors.Join(c.checkLayers(), p.EnsureNetwork(ctx, c.Network)); err != nil {
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
			m, err = c.createWhole(ctx, p, spec)
			return err
		}),
	}, report)
	return m, err
}

// createWhole starts a machine again that an interrupted launch has left with a bundle that was deleted since, and put back.
func (c *Cluster) createWhole(ctx context.Context, p *local.Provider, spec local.MachineSpec) (*local.Machine, error) {
	m, err := p.Create(ctx, spec)
	if err == nil {
		err = c.checkRoot(m)
	}
	if err != nil || c.Ready || m.State() != local.Running {
		return m, err
	}
	if another, err := m.SeesAnother(c.Bundle, bundleTarget); err != nil || !another {
		return m, err
	}
	if _, err := p.Stop(ctx, spec.Cluster, spec.Name, restartGrace); err != nil {
		return nil, err
	}
	return p.Create(ctx, spec)
}

// restartGrace is for machines on which no work runs yet.
const restartGrace = 5 * time.Second

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
