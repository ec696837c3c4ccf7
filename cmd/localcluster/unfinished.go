package localcluster

import (
	"fmt"
	"slices"

	"slipway.dev/slipway/bootstrap"
)

// goesNow records that a node is about to be taken out of the cluster. Its pods have been moved away; from now on it may have lost its
// member of etcd or its Node, and nobody waits for it.
func (c *Cluster) goesNow(n bootstrap.Node) error {
	if slices.Contains(c.Going, n.Name) {
		return nil
	}
	c.Going = append(c.Going, n.Name)
	return c.save()
}

// unfinished tells whether a node is half in the cluster: an addition or a removal was interrupted.
func (c *Cluster) unfinished(node string) bool {
	return slices.Contains(c.Going, node) || slices.ContainsFunc(c.Joining, named(node))
}

// whole tells whether a node is part of the cluster, and is expected to run when that does.
func (c *Cluster) whole(node string) bool {
	return slices.ContainsFunc(c.Nodes, named(node)) && !c.unfinished(node)
}

// Unfinished says what was begun with the cluster's nodes and not completed, and how to complete it.
func (c *Cluster) Unfinished() []string {
	var out []string
	remove := func(node string) string { return fmt.Sprintf("`slipway node remove %s %s`", c.Name(), node) }
	joining := slices.DeleteFunc(slices.Clone(c.Joining), func(n bootstrap.Node) bool { return slices.Contains(c.Going, n.Name) })
	if len(joining) > 0 {
		add := "`slipway node add " + c.Name()
		if joining[0].ControlPlane {
			add += " --control-plane"
		}
		add += fmt.Sprintf(" --count %d`", len(c.Joining))
		out = append(out, fmt.Sprintf("the addition of %q was interrupted: complete it with %s, or give it up with %s for each",
			namesOf(joining), add, remove(joining[0].Name)))
	}
	for _, node := range c.Going {
		out = append(out, fmt.Sprintf("the removal of %q was interrupted, and nobody waits for it: finish that with %s", node, remove(node)))
	}
	for _, n := range c.Leaving {
		out = append(out, fmt.Sprintf("%q is out of the cluster, but its machine is there yet: finish that with %s", n.Name, remove(n.Name)))
	}
	return out
}
