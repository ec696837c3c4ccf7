package localcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// RemoveOptions say which node to remove from a cluster.
type RemoveOptions struct {
	Name, Node string
	Force      bool          // delete pods that cannot be evicted, and do not wait for a node that cannot leave by itself
	Wait       time.Duration // for all of it
}

// RemoveNode moves the pods of a node away, takes it out of the cluster and removes its machine. It may be run again after it was
// interrupted, and removes a node whose machine does not run as well. The last control plane is not removed: the fault is
// last-control-plane.
func RemoveNode(ctx context.Context, d Dirs, o RemoveOptions, report engine.Report) error {
	if o.Wait <= 0 {
		return fault.New("option-invalid", fmt.Sprintf("use --wait %v", o.Wait), errors.New("it is not a time to wait"),
			"see `slipway node remove --help`")
	}
	c, unlock, err := claimAwake(ctx, d, o.Name)
	if err != nil {
		return err
	}
	defer unlock()
	n, err := c.removable(o.Node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait, fault.New("not-ready-in-time",
		fmt.Sprintf("remove node %q", o.Node), fmt.Errorf("it took longer than %v", o.Wait),
		"run the same command with a longer --wait: it goes on where it stopped"))
	defer cancel()
	if !slices.ContainsFunc(c.Leaving, named(n.Name)) {
		if err := inTime(ctx, c.takeOut(ctx, n, o.Force, report)); err != nil {
			return err
		}
		if err := c.goes(n); err != nil {
			return err
		}
	}
	remove := oneStep("remove-machine", func(ctx context.Context, _ func(string)) error { return c.provider().Delete(ctx, c.Name(), n.Name) })
	if err := engine.Run(ctx, n.Name, []engine.Step{remove}, report); err != nil {
		return inTime(ctx, err)
	}
	c.Leaving = slices.DeleteFunc(c.Leaving, named(n.Name))
	return c.save()
}

// goes records that a node is out of the cluster, before its machine is removed: a cluster that misses a machine does not start.
func (c *Cluster) goes(n bootstrap.Node) error {
	c.Nodes, c.Joining = slices.DeleteFunc(c.Nodes, named(n.Name)), slices.DeleteFunc(c.Joining, named(n.Name))
	c.Leaving = append(c.Leaving, n)
	c.Going = slices.DeleteFunc(c.Going, func(name string) bool { return name == n.Name })
	return c.save()
}

func (c *Cluster) removable(name string) (bootstrap.Node, error) {
	all := slices.Concat(c.allNodes(), c.Leaving)
	i := slices.IndexFunc(all, named(name))
	if i < 0 {
		return bootstrap.Node{}, c.nodeUnknown(name, namesOf(all))
	}
	n := all[i]
	other := func(o bootstrap.Node) bool { return o.ControlPlane && o.Name != name }
	if n.ControlPlane && !slices.ContainsFunc(c.Nodes, other) {
		return n, fault.New("last-control-plane", fmt.Sprintf("remove node %q", name), errors.New("it is the cluster's only control plane"),
			"add another one first with `slipway node add "+c.Name()+" --control-plane`, or remove the cluster with `slipway down "+c.Name()+"`")
	}
	return n, nil
}

// takeOut has the steps by which a node goes. One that runs leaves by itself, in good order; for another one a control plane speaks.
func (c *Cluster) takeOut(ctx context.Context, n bootstrap.Node, force bool, report engine.Report) error {
	from, err := c.speaker(ctx, n.Name)
	if err != nil {
		return err
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return err
	}
	leave := func(ctx context.Context) error { return c.leave(ctx, from, n, report, "--gone") }
	runs := slices.IndexFunc(machines, func(m *local.Machine) bool { return m.Name() == n.Name && m.Running() })
	drain := oneStep("drain", func(ctx context.Context, progress func(string)) error {
		return c.drain(ctx, n.Name, runs >= 0, force, progress)
	})
	if err := engine.Run(ctx, n.Name, []engine.Step{drain}, report); err != nil {
		return err
	}
	if err := c.goesNow(n); err != nil {
		return err
	}
	if runs < 0 || !slices.ContainsFunc(c.Nodes, named(n.Name)) { // one that is joining may not know how yet
		return leave(ctx)
	}
	err = c.leave(ctx, machines[runs], n, report)
	if err != nil && force && ctx.Err() == nil {
		return leave(ctx)
	}
	return err
}

func (c *Cluster) leave(ctx context.Context, on *local.Machine, n bootstrap.Node, report engine.Report, flags ...string) error {
	spec := &bootstrap.NodeSpec{Version: bootstrap.SpecVersion, Cluster: c.Cluster, Node: n, Bundle: bundleTarget, Kept: true}
	h := hostOf(on)
	h.Name = n.Name // whoever does it
	return fault.On(n.Name, h.Do(ctx, "take the node out of the cluster", spec, report, append([]string{"leave"}, flags...)...))
}

// leaveTime is what is kept for what comes after the drain.
const leaveTime = 30 * time.Second

// drain has the cluster's own kubectl move the pods away. Of a node that does not run they need not end in good order.
func (c *Cluster) drain(ctx context.Context, node string, runs, force bool, progress func(string)) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return nil // an earlier try came so far, or it never joined
	}
	args := []string{"drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force"}
	switch {
	case !runs:
		args = []string{"cordon", node}
	case force:
		args = append(args, "--disable-eviction", "--grace-period=1")
	}
	if deadline, ok := ctx.Deadline(); ok && runs {
		args = append(args, fmt.Sprintf("--timeout=%ds", max(1, int((time.Until(deadline)-leaveTime).Seconds()))))
	}
	var said bytes.Buffer
	k := exec.CommandContext(ctx, c.Kubectl(), args...)
	k.Env = []string{"KUBECONFIG=" + c.KubeconfigFile(), "HOME=/nonexistent"} // no cache of a user's
	k.Stdout, k.Stderr = &lines{progress}, &said
	if err := k.Run(); err != nil {
		return fault.New("drain-failed", fmt.Sprintf("move the pods of node %q away", node),
			fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes())),
			"mend what keeps them, a PodDisruptionBudget for example, and run the same command again; or use --force, which deletes them; "+
				"to keep the node, run `slipway kubectl "+c.Name()+" -- uncordon "+node+"`")
	}
	return nil
}

// lines passes each line on that is written to it.
type lines struct{ to func(string) }

func (l *lines) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		l.to(strings.TrimSpace(line))
	}
	return len(p), nil
}
