package localcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/bootstrap/server"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// AddOptions say which nodes to add to a cluster.
type AddOptions struct {
	Name         string // of the cluster
	ControlPlane bool
	Count        int
	Wait         time.Duration
}

func (o AddOptions) validate(c *Cluster) error {
	var errs []error
	nodes := len(c.Nodes)
	bad := func(what string, err error) {
		errs = append(errs, fault.New("option-invalid", what, err, "see `slipway node add --help`"))
	}
	if o.Count < 1 || nodes+o.Count > maxNodes {
		bad(fmt.Sprintf("use --count %d", o.Count), fmt.Errorf("there are %d nodes, and a local cluster has at most %d", nodes, maxNodes))
	}
	for _, r := range bootstrap.CheckRanges(c.Subnet, c.Cluster.PodCIDR, c.Cluster.ServiceCIDR, nodes+o.Count) {
		bad(fmt.Sprintf("use --count %d with the cluster's %s %v", o.Count, r.Flag, r.Value), r.Err)
	}
	for _, r := range bootstrap.CheckIPv6(pool6(), c.Cluster.IPv6, nodes+o.Count) {
		bad(fmt.Sprintf("use --count %d with the cluster's %s %v", o.Count, r.Flag, r.Value), r.Err)
	}
	if o.Wait <= 0 {
		bad(fmt.Sprintf("use --wait %v", o.Wait), errors.New("it is not a time to wait"))
	}
	return errors.Join(errs...)
}

// AddNodes adds nodes to a cluster that runs, all at the same time, or completes an addition that was interrupted. It gives
// their names.
func AddNodes(ctx context.Context, d Dirs, o AddOptions, report engine.Report) ([]string, error) {
	c, unlock, err := claimAwake(ctx, d, o.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait, fault.New("not-ready-in-time",
		fmt.Sprintf("add nodes to cluster %q", o.Name), fmt.Errorf("it took longer than %v", o.Wait),
		"run the same command with a longer --wait: it goes on where it stopped"))
	defer cancel()
	if err := c.join(o); err != nil {
		return nil, err
	}
	if err := c.bringIn(ctx, report); err != nil {
		return nil, inTime(ctx, err)
	}
	added := namesOf(c.Joining)
	c.Nodes, c.Joining = append(c.Nodes, c.Joining...), nil
	return added, c.save()
}

// claimAwake is claim for a cluster whose nodes are to be changed: it came up, and runs.
func claimAwake(ctx context.Context, d Dirs, name string) (*Cluster, func(), error) {
	c, unlock, err := claim(d, name)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case c.Bare:
		err = fault.New("machines-bare", fmt.Sprintf("change the nodes of cluster %q", name), errors.New("there are only machines of that name"),
			"choose how many there are when you make them")
	case !c.Ready:
		err = c.incomplete()
	default:
		err = c.AwakeNow(ctx)
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return c, unlock, nil
}

// join records the nodes that are to be added, before anything is made of them.
func (c *Cluster) join(o AddOptions) error {
	if len(c.Joining) > 0 {
		return c.sameAddition(o)
	}
	if err := o.validate(c); err != nil {
		return err
	}
	for range o.Count {
		n, err := c.newNode(o.ControlPlane)
		if err != nil {
			return err
		}
		c.Joining = append(c.Joining, n)
	}
	return c.save()
}

func (c *Cluster) sameAddition(o AddOptions) error {
	first := c.Joining[0]
	if len(c.Joining) == o.Count && first.ControlPlane == o.ControlPlane {
		return nil
	}
	return fault.New("nodes-joining", fmt.Sprintf("add nodes to cluster %q", c.Name()),
		fmt.Errorf("an addition of %q was interrupted", namesOf(c.Joining)),
		"complete it with the same command as then, or remove them with `slipway node remove "+c.Name()+" "+first.Name+"`")
}

// newNode takes the first name and the first address that nobody has.
func (c *Cluster) newNode(controlPlane bool) (bootstrap.Node, error) {
	n := bootstrap.Node{Shared: true, ControlPlane: controlPlane, Joins: controlPlane}
	c.Roles.register(&n)
	kind := "worker"
	if controlPlane {
		kind, n.VirtualIPInterface = "cp", machineLink
	}
	for i := 1; n.Name == ""; i++ {
		if name := fmt.Sprintf("%s-%s-%d", c.Name(), kind, i); !c.has(named(name)) {
			n.Name = name
		}
	}
	last := afterNodes(c.Subnet)
	for a := c.Network.Gateway.Next(); a.Less(last); a = a.Next() {
		if !c.has(func(o bootstrap.Node) bool { return o.Address == a }) {
			n.Address = a
			c.number6(&n)
			return n, nil
		}
	}
	return n, fault.New("subnet-full", fmt.Sprintf("add a node to cluster %q", c.Name()),
		fmt.Errorf("all addresses of %s are in use", c.Subnet),
		"launch a cluster with a larger --subnet")
}

// allNodes are also those that are joining.
func (c *Cluster) allNodes() []bootstrap.Node { return slices.Concat(c.Nodes, c.Joining) }

func (c *Cluster) has(match func(bootstrap.Node) bool) bool {
	return slices.ContainsFunc(c.allNodes(), match) || slices.ContainsFunc(c.Leaving, match)
}

func named(name string) func(bootstrap.Node) bool {
	return func(n bootstrap.Node) bool { return n.Name == name }
}

func namesOf(nodes []bootstrap.Node) (names []string) {
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

// bringIn makes the machines and nodes that are joining.
func (c *Cluster) bringIn(ctx context.Context, report engine.Report) error {
	from, err := c.speaker(ctx, "")
	if err != nil {
		return err
	}
	if c.Joining[0].ControlPlane || c.Cluster.VirtualIP.IsValid() { // an earlier addition may have begun that, and been given up
		if err := c.share(ctx, report); err != nil {
			return err
		}
	}
	specs, err := c.sign(ctx, from, c.Joining)
	if err != nil {
		return err
	}
	p := c.provider()
	if err := errors.Join(c.checkLayers(), p.EnsureNetwork(ctx, c.Network)); err != nil {
		return err
	}
	ready := func(ctx context.Context, s *bootstrap.NodeSpec) (*fleet.Host, error) {
		m, err := c.machine(ctx, p, s, report)
		if err != nil {
			return nil, err
		}
		return hostOf(m), nil
	}
	return fleet.Converge(ctx, specs, ready, report)
}

// speaker is a control plane that runs, but for one. What only control planes can do is done there.
func (c *Cluster) speaker(ctx context.Context, but string) (*local.Machine, error) {
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		i := slices.IndexFunc(c.Nodes, named(m.Name()))
		if i >= 0 && c.Nodes[i].ControlPlane && m.Name() != but && m.Running() {
			return m, nil
		}
	}
	return nil, fault.New("control-planes-stopped", fmt.Sprintf("change the nodes of cluster %q", c.Name()),
		errors.New("none of its control planes that could do it runs"), "start the cluster with `slipway up --name "+c.Name()+"`")
}

// sign has a control plane make the identities of new nodes: only control planes have the authorities' keys.
func (c *Cluster) sign(ctx context.Context, m *local.Machine, nodes []bootstrap.Node) ([]*bootstrap.NodeSpec, error) {
	r := server.Request{Cluster: c.Cluster, Nodes: nodes, Bundle: bundleTarget}
	for _, n := range c.Nodes {
		if n.ControlPlane {
			r.Servers = append(r.Servers, fleet.APIAddress(n.Address))
		}
	}
	request, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("ask for identities: %w", err)
	}
	var out, said bytes.Buffer
	err = m.Run(ctx, local.Command{
		Args: []string{bootstrap.Program, "node", "sign"}, Stdin: bytes.NewReader(request), Stdout: &out, Stderr: &said,
	})
	var specs []*bootstrap.NodeSpec
	if err != nil && fleet.Outdated(said.String()) {
		return nil, fleet.TooOld("make the identities of new nodes", m.Name())
	}
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &specs)
	}
	if err != nil {
		return nil, fault.On(m.Name(), fault.New("identity-unsigned", "make the identities of new nodes",
			fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes())), "mend that on the control plane, and run the same command again"))
	}
	return specs, nil
}

// share gives a cluster that begins to have several control planes an address that one of them has at a time, and lets the first one
// agree with others. Its clients on this computer use the address from then on.
func (c *Cluster) share(ctx context.Context, report engine.Report) error {
	if !c.Cluster.VirtualIP.IsValid() {
		c.Cluster.VirtualIP, c.Cluster.Alone = sharedAddress(c.Subnet), false
		c.Cluster.Endpoint = fleet.APIAddress(c.Cluster.VirtualIP.Addr())
		if err := c.save(); err != nil {
			return err
		}
	}
	moved, err := c.moved()
	if err != nil || !moved {
		return err
	}
	if err := c.reconverge(ctx, report); err != nil {
		return err
	}
	c.Network.Front = c.Cluster.VirtualIP.Addr() // not before somebody has it
	if err := c.save(); err != nil {
		return err
	}
	return c.moveKubeconfig()
}

// reconverge makes the control planes what the record says by now.
func (c *Cluster) reconverge(ctx context.Context, report engine.Report) error {
	var specs []*bootstrap.NodeSpec
	for _, n := range c.Nodes {
		if n.ControlPlane {
			specs = append(specs, &bootstrap.NodeSpec{
				Version: bootstrap.SpecVersion, Cluster: c.Cluster, Node: n, Bundle: bundleTarget, Kept: true,
			})
		}
	}
	return fleet.Converge(ctx, specs, func(ctx context.Context, s *bootstrap.NodeSpec) (*fleet.Host, error) {
		m, err := c.Machine(ctx, s.Node.Name)
		if err != nil {
			return nil, err
		}
		return hostOf(m), nil
	}, report)
}

// moved tells whether the administrator's kubeconfig has another endpoint than the cluster.
func (c *Cluster) moved() (bool, error) {
	k, err := clientcmd.LoadFromFile(c.KubeconfigFile())
	if err != nil {
		return false, fmt.Errorf("read kubeconfig of cluster %q: %w", c.Name(), err)
	}
	for _, one := range k.Clusters {
		if one.Server != c.server() {
			return true, nil
		}
	}
	return false, nil
}

func (c *Cluster) server() string { return "https://" + c.Cluster.Endpoint }

// moveKubeconfig writes the endpoint to the kubeconfigs that have the cluster; its own is the last, as it says whether that was done.
func (c *Cluster) moveKubeconfig() error {
	k, err := clientcmd.LoadFromFile(c.KubeconfigFile())
	if err != nil {
		return fmt.Errorf("read kubeconfig of cluster %q: %w", c.Name(), err)
	}
	for _, one := range k.Clusters {
		one.Server = c.server()
	}
	data, err := clientcmd.Write(*k)
	if err != nil {
		return fmt.Errorf("write kubeconfig of cluster %q: %w", c.Name(), err)
	}
	for _, path := range c.Kubeconfigs {
		if err := certs.MoveKubeconfig(path, c.Context(), c.server()); err != nil {
			return err
		}
	}
	return writeFile(c.KubeconfigFile(), data)
}
