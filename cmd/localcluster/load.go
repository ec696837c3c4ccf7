package localcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Kubectl is the path of the kubectl that belongs to the cluster's version.
func (c *Cluster) Kubectl() string { return filepath.Join(c.Programs, "usr/local/bin/kubectl") }

// Imported is what `slipway node import-image` answers.
type Imported struct {
	Names []string        `json:"names,omitempty"`
	Error *engine.Problem `json:"error,omitempty"`
}

// LoadImage imports an image archive into all machines at once and gives the names of the images in it. open is
// called once for each machine.
func (c *Cluster) LoadImage(ctx context.Context, open func() (io.ReadCloser, error)) ([]string, error) {
	g, gctx := errgroup.WithContext(ctx)
	names := make([][]string, len(c.Nodes))
	for i, n := range c.Nodes {
		g.Go(func() error {
			m, err := c.Machine(gctx, n.Name)
			if err != nil {
				return err
			}
			archive, err := open()
			if err != nil {
				return err
			}
			defer archive.Close()
			var out bytes.Buffer
			err = m.Run(gctx, local.Command{Args: []string{bootstrap.Program, "node", "import-image"}, Stdin: archive, Stdout: &out})
			if err != nil {
				return fault.On(n.Name, fault.New("image-not-loaded", "load the image", err, "run the same command again"))
			}
			var answer Imported
			if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
				return fmt.Errorf("%s: read the names of the images: %w", n.Name, err)
			}
			if answer.Error != nil {
				return answer.Error.Fault(n.Name)
			}
			names[i] = answer.Names
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return names[0], nil
}
