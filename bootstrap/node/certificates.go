package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
)

const (
	kubernetesDir = "/etc/kubernetes"
	caFile        = kubernetesDir + "/pki/ca.crt"
)

// certificates writes the node's identity. A host that is a node of another cluster is refused.
func (n *builder) certificates(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) {
			if err := n.checkOwner(); err != nil {
				return nil, err
			}
			return engine.Differing(n.identity()), nil
		},
		Do: func(context.Context, func(string)) error { return n.host.WriteFiles(name, n.identity()) },
	}
}

// identity is what is to be written: all files, but for a certificate that the kubelet has rotated since.
func (n *builder) identity() []engine.File {
	var out []engine.File
	for _, f := range n.Files {
		if f.Link != "" {
			if _, err := os.Stat(f.Path); err == nil {
				continue
			}
		}
		out = append(out, f)
	}
	return out
}

func (n *builder) checkOwner() error {
	there, err := os.ReadFile(caFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the authority of this host: %w", err)
	}
	for _, f := range n.Files {
		if f.Path == caFile && !bytes.Equal(f.Data, there) {
			return fault.New("other-cluster", "make this host a node", fmt.Errorf("%q is of another cluster", caFile),
				"take the host out of that cluster first")
		}
	}
	return nil
}
