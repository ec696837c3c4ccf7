package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
)

// The notes about a containerd that was on the host before, and about what was in it under the names of our images.
const (
	notedRuntime = "containerd"
	notedImages  = "images"
)

// othersContainerd is a step that changes nothing: the containerd that is there is used.
func (n *builder) othersContainerd(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) {
			if _, ok := n.host.Noted(notedRuntime); ok {
				return nil, nil
			}
			return []string{"use the containerd that runs here as it is"}, nil
		},
		Do: func(context.Context, func(string)) error { return nil }, // the note was made before the first change
	}
}

// noteRuntime keeps for Undo what is done with a containerd that was there.
func (n *builder) noteRuntime(step string) error {
	if n.Node.Runtime == nil {
		return nil
	}
	return n.note(step, notedRuntime, n.Node.Runtime)
}

func (n *builder) note(step, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return n.host.Note(step, name, string(data))
}

// noted reads what note wrote; v stays as it is where nothing was.
func (n *builder) noted(name string, v any) error {
	text, ok := n.host.Noted(name)
	if !ok {
		return nil
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("read the note about %s: %w", name, err)
	}
	return nil
}

// sandbox is what the bundle's pause image is also called where that is needed.
const sandbox = "sandbox"

// withSandbox gives the bundle with the image that the containerd which was here begins pods with.
func withSandbox(b *images.Bundle, n bootstrap.Node) (*images.Bundle, error) {
	if !n.UsesRuntime() || n.Runtime.Sandbox == "" {
		return b, nil
	}
	return b.Alias("pause", sandbox, n.Runtime.Sandbox)
}

// keepImages notes what others have in their containerd under the names of our images.
func (n *builder) keepImages(ctx context.Context, step string) error {
	if _, ok := n.host.Noted(notedImages); ok || !n.Node.UsesRuntime() {
		return nil
	}
	before, err := n.bundle.Keep(ctx, containerdSocket, n.imagesOfNode(nil))
	if err != nil {
		return err
	}
	return n.note(step, notedImages, before)
}

func (n *builder) putImagesBack(ctx context.Context) error {
	var before []images.Before
	if err := n.noted(notedImages, &before); err != nil || before == nil {
		return err // all of the containerd goes
	}
	return images.PutBack(ctx, containerdSocket, before)
}

// restNetwork is the name of a network that a pod's end needs nothing else for. It is in the first file that containerd sees.
const (
	restNetwork = "slipway-reset"
	restFile    = cniConfigs + "/00-" + restNetwork + ".conflist"
	restText    = `{"cniVersion": "1.0.0", "name": "` + restNetwork + `", "plugins": [{"type": "loopback"}]}` + "\n"
	removeTime  = 2 * time.Minute
)

// hasPods tells whether it is the containerd with the pods of this node that answers.
func (n *builder) hasPods(ctx context.Context, pods *cri.Pods) (bool, error) {
	store, err := pods.Store(ctx)
	switch {
	case err != nil:
		return false, err
	case n.Node.Runtime.Used && store == "":
		if there, err := engine.UnitExists(ctx, cri.Unit); err != nil || !there {
			return false, err // it has been removed since, or never came
		}
		return false, fault.New("containerd-unreachable", "remove the pods from containerd", errors.New("it does not answer"),
			"start it with `systemctl start "+cri.Unit+"`, then run the same command again")
	}
	return n.Node.Runtime.Used || store == besideStore, nil // ours may have gone already, and the other may have pods of its own
}

// removePods has containerd end and remove the pods where it, or the shims of others, stay: of pods whose processes were killed
// all at once it loses a shim now and then. Calico would want the API for the end of each pod's network; what it made goes with
// the undoing of the pods' network.
func (n *builder) removePods(ctx context.Context, step string) error {
	if n.Node.Runtime == nil {
		return nil // all of the containerd goes
	}
	ctx, cancel := context.WithTimeoutCause(ctx, removeTime, fmt.Errorf("it took longer than %v", removeTime))
	defer cancel()
	pods, err := cri.OpenPods(containerdSocket)
	if err != nil {
		return err
	}
	defer pods.Close()
	if there, err := n.hasPods(ctx, pods); err != nil || !there {
		return err
	}
	if err := n.host.WriteFiles(step, []engine.File{{Path: restFile, Data: []byte(restText), Mode: 0o644}}); err != nil {
		return err
	}
	if err := pods.WaitNetwork(ctx, restNetwork); err != nil {
		return err
	}
	if err := pods.Remove(ctx, nil); err != nil {
		return err
	}
	if err := os.Remove(restFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the network for the reset: %w", err)
	}
	return nil
}
