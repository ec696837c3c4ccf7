package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
)

// controlPlaneLabel is also the key of the taint that keeps workloads away.
const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

func controlPlaneLabels() map[string]string {
	return map[string]string{
		controlPlaneLabel: "",
		"node.kubernetes.io/exclude-from-external-load-balancers": "",
	}
}

// mark labels the node as a control plane. NodeRestriction forbids the kubelet to do it by itself.
func (n *builder) mark(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			o, err := n.object(ctx)
			if err == nil && hasLabels(o, controlPlaneLabels()) {
				return nil, nil
			}
			return []string{"label the node as control plane"}, nil // also when it is not registered yet
		},
		Do: func(ctx context.Context, progress func(string)) error {
			registered := func(*corev1.Node) (bool, string) { return true, "" }
			if err := n.waitNode(ctx, registered, progress); err != nil {
				return err
			}
			return n.label(ctx, controlPlaneLabels(), progress)
		},
	}
}

// label asks until it may: the administrators get their permission from the control plane that makes the cluster's
// objects, at the same time.
func (n *builder) label(ctx context.Context, labels map[string]string, progress func(string)) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	c, err := Client(n.NodeSpec)
	if err != nil {
		return err
	}
	return waitAPI(ctx, func(ctx context.Context) error {
		_, err := c.CoreV1().Nodes().Patch(ctx, n.Node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "slipway"})
		return err
	}, progress)
}

func hasLabels(o *corev1.Node, want map[string]string) bool {
	for k, v := range want {
		if got, ok := o.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// nodeReady waits until the kubelet that runs now has reported this node as ready: the API may still hold what an
// earlier one said.
func (n *builder) nodeReady(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			since, err := n.kubeletUnit().Since(ctx)
			if err != nil {
				return nil, err
			}
			o, err := n.object(ctx)
			if err == nil {
				if ok, _ := isReady(o, since); ok {
					return nil, nil
				}
			}
			return []string{"wait for the node to be ready"}, nil // also when the API does not answer for the moment
		},
		Do: func(ctx context.Context, progress func(string)) error {
			since, err := n.kubeletUnit().Since(ctx)
			if err != nil {
				return err
			}
			return n.waitNode(ctx, func(o *corev1.Node) (bool, string) { return isReady(o, since) }, progress)
		},
	}
}

// object is this node as the API has it.
func (n *builder) object(ctx context.Context) (*corev1.Node, error) {
	c, err := client(kubeletKubeconfig)
	if err != nil {
		return nil, err
	}
	return c.CoreV1().Nodes().Get(ctx, n.Node.Name, metav1.GetOptions{})
}

func isReady(o *corev1.Node, since time.Time) (bool, string) {
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady && !c.LastHeartbeatTime.Time.Before(since.Truncate(time.Second)) {
			return c.Status == corev1.ConditionTrue, c.Message
		}
	}
	return false, "the kubelet has not said anything yet"
}

// waitNode watches this node's object, as the kubelet may do with its own, until done says so.
func (n *builder) waitNode(ctx context.Context, done func(*corev1.Node) (bool, string), progress func(string)) error {
	c, err := client(kubeletKubeconfig)
	if err != nil {
		return err
	}
	list := cache.NewListWatchFromClient(c.CoreV1().RESTClient(), "nodes", "", fields.OneTermEqualSelector("metadata.name", n.Node.Name))
	last := "it is not registered"
	_, err = watchtools.UntilWithSync(ctx, list, &corev1.Node{}, nil, func(e watch.Event) (bool, error) {
		o, ok := e.Object.(*corev1.Node)
		if !ok || e.Type == watch.Deleted {
			return false, nil
		}
		ok, why := done(o)
		if !ok && why != last {
			last = why
			progress("wait for the node: " + why)
		}
		return ok, nil
	})
	if ctx.Err() != nil {
		err = context.Cause(ctx) // the watch says only that it was stopped
	}
	if err != nil {
		return fault.New("node-not-ready", fmt.Sprintf("wait for node %q", n.Node.Name), fmt.Errorf("%w; last: %s", err, last),
			"look at the kubelet's log on this host; run the same command again to go on")
	}
	return nil
}

// failedChecks gives those lines of a verbose /readyz that say what fails.
func failedChecks(text []byte) string {
	var out []string
	for line := range bytes.Lines(text) {
		if after, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("[-]")); ok {
			out = append(out, string(after))
		}
	}
	if len(out) == 0 {
		return string(bytes.TrimSpace(text))
	}
	return strings.Join(out, ", ")
}
