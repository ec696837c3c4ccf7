package localcluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	ocidigest "github.com/opencontainers/go-digest"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/images/archive"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Kubectl is the path of the kubectl that belongs to the cluster's version.
func (c *Cluster) Kubectl() string { return filepath.Join(c.Programs, "usr/local/bin/kubectl") }

// Archives are files with images of the user's own.
type Archives []*archive.Archive

// OpenArchives opens all of them, or says all that is wrong with any.
func OpenArchives(ctx context.Context, d Dirs, paths []string) (Archives, error) {
	var out Archives
	var errs []error
	for _, path := range paths {
		a, err := archive.Open(ctx, path, filepath.Join(d.Cache, "tmp"))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, a)
	}
	err := errors.Join(append(errs, out.unambiguous())...)
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

// Close closes all of them.
func (a Archives) Close() {
	for _, one := range a {
		one.Close()
	}
}

// Images gives all that are in them.
func (a Archives) Images() []archive.Image {
	var out []archive.Image
	for _, one := range a {
		out = append(out, one.Images...)
	}
	return out
}

// unambiguous refuses a name that two of them give to different images.
func (a Archives) unambiguous() error {
	var errs []error
	first := map[string]archive.Image{}
	for _, i := range a.Images() {
		if was, ok := first[i.Name]; ok && was.Target.Digest != i.Target.Digest {
			errs = append(errs, fault.New("image-ambiguous", fmt.Sprintf("load image %q", i.Name),
				fmt.Errorf("it is in the files twice, as %s and as %s", was.Target.Digest, i.Target.Digest), "leave one of them out"))
		}
		first[i.Name] = i
	}
	return errors.Join(errs...)
}

// verify reads those of their blobs that are wanted, all if want is nil.
func (a Archives) verify(ctx context.Context, want func(ocidigest.Digest) bool) error {
	var errs []error
	for _, one := range a {
		errs = append(errs, one.Verify(ctx, want))
	}
	return errors.Join(errs...)
}

// verified is verify as a step, when there is something to verify.
func (a Archives) verified(ctx context.Context, report engine.Report) error {
	if len(a) == 0 {
		return nil
	}
	return engine.Run(ctx, "", []engine.Step{oneStep("check-images", func(ctx context.Context, _ func(string)) error {
		return a.verify(ctx, nil)
	})}, report)
}

// Loaded is what a node was sent.
type Loaded struct {
	Node string `json:"node"`
	images.Sent
}

// LoadImages puts images into all nodes at the same time. What a node has is not sent to it, and nothing is sent before all that
// any node lacks was found to be what its digest says.
func (c *Cluster) LoadImages(ctx context.Context, a Archives, report engine.Report) ([]Loaded, error) {
	stores, err := c.nodeStores(ctx)
	if err != nil {
		return nil, err
	}
	defer stores.close()
	var mu sync.Mutex
	lacking := map[ocidigest.Digest]bool{}
	err = stores.each(func(n *nodeStore) error {
		some, err := n.Lacking(ctx, a.Images())
		mu.Lock()
		defer mu.Unlock()
		maps.Copy(lacking, some)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := a.verify(ctx, func(d ocidigest.Digest) bool { return lacking[d] }); err != nil {
		return nil, err
	}
	out := make([]Loaded, len(stores))
	return out, stores.each(func(n *nodeStore) (err error) {
		out[n.at], err = n.load(ctx, a, report)
		return err
	})
}

func (n *nodeStore) load(ctx context.Context, a Archives, report engine.Report) (Loaded, error) {
	out := Loaded{Node: n.node}
	err := engine.Run(ctx, n.node, []engine.Step{oneStep("load-images", func(ctx context.Context, progress func(string)) (err error) {
		if err := n.serving(ctx, progress); err != nil {
			return err
		}
		out.Sent, err = n.Load(ctx, a.Images(), progress)
		return err
	})}, report)
	return out, err
}

const pollContainerd = 50 * time.Millisecond

// serving waits for the containerd of a node that is coming up.
func (n *nodeStore) serving(ctx context.Context, progress func(string)) error {
	tick := time.NewTicker(pollContainerd)
	defer tick.Stop()
	for first := true; !n.Serving(ctx); first = false {
		if first {
			progress("wait for containerd")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// launchLoads are the loads that go on while a cluster comes up.
type launchLoads struct {
	archives Archives
	report   engine.Report
	all      sync.WaitGroup
	mu       sync.Mutex
	errs     []error
}

// begin loads into a machine that has been made, as soon as its containerd runs.
func (l *launchLoads) begin(ctx context.Context, m *local.Machine) {
	if len(l.archives) == 0 {
		return
	}
	l.all.Go(func() {
		s, err := openStore(m, 0)
		if err == nil {
			defer s.Close()
			_, err = s.load(ctx, l.archives, l.report)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.errs = append(l.errs, fault.On(m.Name(), err))
	})
}

func (l *launchLoads) wait() error {
	l.all.Wait()
	return errors.Join(l.errs...)
}
