package localcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// PowerOptions say which cluster, or group of bare machines, to stop, start, pause or resume, and how long that may take.
type PowerOptions struct {
	Name  string
	Node  string        // to restart; empty: all
	Grace time.Duration // for what runs to end by itself, before it is killed
	Wait  time.Duration // until everything is ready
}

func (o PowerOptions) validate() error {
	if o.Grace < 0 || o.Wait < 0 {
		return fault.New("option-invalid", fmt.Sprintf("use --grace %v and --wait %v", o.Grace, o.Wait),
			errors.New("a time to wait is not negative"), "see --help of the command")
	}
	return nil
}

// Stop shuts all machines down at the same time. What is on them stays. It tells whether one ran.
func Stop(ctx context.Context, d Dirs, o PowerOptions, report engine.Report) (bool, error) {
	c, unlock, err := o.claim(d)
	if err != nil {
		return false, err
	}
	defer unlock()
	machines, err := c.Machines(ctx) // of a launch that was interrupted there may be some only
	if err != nil {
		return false, err
	}
	var names []string
	for _, m := range machines {
		if m.Address().IsValid() { // or it has only a directory yet, and never ran
			names = append(names, m.Name())
		}
	}
	return c.shutDown(ctx, names, o.Grace, report)
}

// Start starts the machines that are stopped, and ends when everything is ready. It tells whether one was stopped.
func Start(ctx context.Context, d Dirs, o PowerOptions, report engine.Report) (bool, error) {
	c, unlock, err := o.claim(d)
	if err != nil {
		return false, err
	}
	defer unlock()
	ctx, cancel := o.inTime(ctx, "start")
	defer cancel()
	changed, err := c.start(ctx, report)
	if err == nil {
		err = c.settle(ctx, changed || c.Starting, report) // of what was up, pods are the user's own affair
	}
	return changed, c.explain(inTime(ctx, err))
}

// Pause freezes everything in the machines. It tells whether something was not frozen.
func Pause(ctx context.Context, d Dirs, o PowerOptions, report engine.Report) (bool, error) {
	c, unlock, err := o.claim(d)
	if err != nil {
		return false, err
	}
	defer unlock()
	c.Frozen = nil // from now on it is paused on purpose, whoever did that before
	names, err := c.awake(ctx)
	if err == nil {
		err = errors.Join(c.save(), c.remember(ctx))
	}
	if err != nil {
		return false, err
	}
	return c.onEach(ctx, "pause", names, c.provider().Pause, report)
}

// Resume lets paused machines go on, and ends when everything is ready. It tells whether one was paused.
func Resume(ctx context.Context, d Dirs, o PowerOptions, report engine.Report) (bool, error) {
	c, unlock, err := o.claim(d)
	if err != nil {
		return false, err
	}
	defer unlock()
	names, err := c.awake(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := o.inTime(ctx, "resume")
	defer cancel()
	changed, err := c.onEach(ctx, "resume", names, c.provider().Resume, report)
	if err == nil && len(c.Frozen) > 0 { // by a snapshot that was killed
		c.Frozen = nil
		err = c.save()
	}
	if err == nil {
		err = c.settle(ctx, changed || c.Starting, report)
	}
	return changed, inTime(ctx, err)
}

// Restart stops all machines, or one, and starts them.
func Restart(ctx context.Context, d Dirs, o PowerOptions, report engine.Report) error {
	c, unlock, err := o.claim(d)
	if err != nil {
		return err
	}
	defer unlock()
	names, err := c.toRestart(ctx, o.Node)
	if err != nil {
		return err
	}
	if _, err := c.shutDown(ctx, names, o.Grace, report); err != nil {
		return err
	}
	ctx, cancel := o.inTime(ctx, "restart")
	defer cancel()
	if _, err = c.start(ctx, report); err == nil {
		err = c.settle(ctx, true, report)
	}
	return inTime(ctx, err)
}

// toRestart gives all machines, or the one of that name if the cluster runs.
func (c *Cluster) toRestart(ctx context.Context, node string) ([]string, error) {
	all, err := c.in(ctx, local.Running, local.Paused, local.Stopped)
	if err != nil || node == "" {
		return all, err
	}
	if err := c.AwakeNow(ctx); err != nil {
		return nil, err
	}
	for _, name := range all {
		if name == node {
			return []string{name}, nil
		}
	}
	return nil, c.nodeUnknown(node, all)
}

func (o PowerOptions) claim(d Dirs) (*Cluster, func(), error) {
	if err := o.validate(); err != nil {
		return nil, nil, err
	}
	return claim(d, o.Name)
}

// claim opens a cluster that nobody else works on.
func claim(d Dirs, name string) (*Cluster, func(), error) {
	if err := errors.Join(CheckName(name), local.CheckRoot()); err != nil {
		return nil, nil, err
	}
	if _, err := Open(d, name); err != nil { // a lock would leave a file
		return nil, nil, err
	}
	unlock, err := lock(d, name)
	if err != nil {
		return nil, nil, err
	}
	c, err := Open(d, name)
	switch {
	case err == nil && c.Removing:
		err = c.removing("work on")
	case err == nil && c.Restoring != "":
		err = c.restoring("work on")
	}
	if err == nil {
		err = sweepSnapshots(d, name)
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return c, unlock, nil
}

func (o PowerOptions) inTime(ctx context.Context, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, o.Wait, fault.New("not-ready-in-time", fmt.Sprintf("%s cluster %q", what, o.Name),
		fmt.Errorf("it took longer than %v", o.Wait), "go on waiting with `slipway start "+o.Name+"`, or look at `slipway status "+o.Name+"`"))
}

func (c *Cluster) shutDown(ctx context.Context, names []string, grace time.Duration, report engine.Report) (bool, error) {
	if err := c.remember(ctx); err != nil {
		return false, err
	}
	p := c.provider()
	return c.onEach(ctx, "shut-down", names, func(ctx context.Context, cluster, name string) (bool, error) {
		return p.Stop(ctx, cluster, name, grace)
	}, report)
}

// onEach does something to machines, to all at once and whether or not it fails for one. It tells whether one was changed.
func (c *Cluster) onEach(ctx context.Context, step string, names []string,
	do func(ctx context.Context, cluster, name string) (bool, error), report engine.Report,
) (bool, error) {
	changed, failed := make([]bool, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			failed[i] = engine.Run(ctx, name, []engine.Step{oneStep(step, func(ctx context.Context, _ func(string)) (err error) {
				changed[i], err = do(ctx, c.Name(), name)
				return err
			})}, report)
		})
	}
	wg.Wait()
	some := false
	for _, yes := range changed {
		some = some || yes
	}
	return some, errors.Join(failed...)
}

// start starts the machines that do not run, after a restart of this computer all of them. If there are none it mends the network
// under those that run: whoever flushes the firewall takes the guard of this computer's loopback away. It tells whether it did something.
func (c *Cluster) start(ctx context.Context, report engine.Report) (bool, error) {
	paused, err := c.in(ctx, local.Paused)
	if err != nil {
		return false, err
	}
	if len(paused) > 0 {
		return false, c.paused()
	}
	stopped, err := c.in(ctx, local.Stopped)
	if err != nil {
		return false, err
	}
	if len(stopped) == 0 {
		return c.mendNetwork(ctx, report)
	}
	c.Starting = !c.Bare
	p := c.provider()
	if err := errors.Join(c.save(), c.checkLayers(), p.EnsureNetwork(ctx, c.Network)); err != nil {
		return false, err
	}
	return c.onEach(ctx, "machine", stopped, func(ctx context.Context, cluster, name string) (bool, error) {
		_, err := p.Start(ctx, cluster, name, c.hosts())
		return true, err
	}, report)
}

// in gives the machines of a cluster that came up which are in one of these states, with those of nodes that are joining. That all
// nodes have theirs is checked too.
func (c *Cluster) in(ctx context.Context, states ...local.State) ([]string, error) {
	if !c.Ready {
		return nil, c.incomplete()
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	now := map[string]local.State{}
	for _, m := range machines {
		if m.Address().IsValid() {
			now[m.Name()] = m.State()
		}
	}
	var out, missing []string
	for i, n := range c.allNodes() {
		state, there := now[n.Name]
		if !there && i < len(c.Nodes) {
			missing = append(missing, n.Name)
		}
		if there && slices.Contains(states, state) {
			out = append(out, n.Name)
		}
	}
	if len(missing) > 0 {
		return nil, fault.New("machine-missing", fmt.Sprintf("find the machines of cluster %q", c.Name()),
			fmt.Errorf("the machines %q are gone, with what was on them", missing), "remove the cluster with `slipway down "+c.Name()+"`")
	}
	return out, nil
}

// awake gives the machines that run or are paused, of a cluster that is not stopped.
func (c *Cluster) awake(ctx context.Context) ([]string, error) {
	names, err := c.in(ctx, local.Running, local.Paused)
	if err == nil && len(names) == 0 {
		err = c.stopped()
	}
	return names, err
}

// AwakeNow refuses a cluster that is stopped or paused: nobody would answer. The faults are cluster-stopped and
// cluster-paused.
func (c *Cluster) AwakeNow(ctx context.Context) error {
	state, err := c.State(ctx)
	switch {
	case err != nil:
		return err
	case state == stateStopped:
		return c.stopped()
	case state == statePaused, state == statePartlyPaused:
		return c.paused()
	}
	return nil
}

func (c *Cluster) stopped() error {
	return fault.New("cluster-stopped", fmt.Sprintf("reach cluster %q", c.Name()), errors.New("it is stopped"),
		"start it with `slipway start "+c.Name()+"`")
}

func (c *Cluster) paused() error {
	return fault.New("cluster-paused", fmt.Sprintf("reach cluster %q", c.Name()), errors.New("it is paused"),
		"let it go on with `slipway resume "+c.Name()+"`")
}

func (c *Cluster) incomplete() error {
	return fault.New("cluster-incomplete", fmt.Sprintf("work on cluster %q", c.Name()), errors.New("it never came up completely"),
		"complete its launch with the command that began it, or remove it with `slipway down "+c.Name()+"`")
}

func (c *Cluster) removing(what string) error {
	return fault.New("cluster-removing", fmt.Sprintf("%s cluster %q", what, c.Name()), errors.New("its removal has begun"),
		"finish that with `slipway down "+c.Name()+"`")
}
