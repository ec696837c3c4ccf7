package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

// Request asks a control plane for the identities of nodes that are to be added to its cluster.
type Request struct {
	Cluster bootstrap.Cluster `json:"cluster"`
	Nodes   []bootstrap.Node  `json:"nodes"`
	Servers []string          `json:"servers,omitempty"` // that the nodes know to begin with
	Bundle  string            `json:"bundle"`            // its directory on the nodes
}

// Sign makes the specifications of new nodes on a control plane, by the authorities that lie there. They hold secrets.
func Sign(r Request) ([]*bootstrap.NodeSpec, error) {
	shared, err := readShared(len(r.Cluster.ExternalEtcd) > 0)
	if err != nil {
		return nil, err
	}
	var specs []*bootstrap.NodeSpec
	for _, n := range r.Nodes {
		s, err := specOf(r.Cluster, n, shared, r.Bundle)
		if err != nil {
			return nil, fault.On(n.Name, err)
		}
		s.Servers = r.Servers
		specs = append(specs, s)
	}
	return specs, nil
}

func specOf(c bootstrap.Cluster, n bootstrap.Node, shared map[string][]byte, bundle string) (*bootstrap.NodeSpec, error) {
	if n.ControlPlane {
		return controlPlane(c, n, shared, bundle)
	}
	cas, err := authorities(c, shared)
	if err != nil {
		return nil, err
	}
	return fleet.NewSpec(c, n, cas, bundle, time.Now())
}

// readShared reads what control planes share from this one's disk, by paths below /etc/kubernetes.
func readShared(externalEtcd bool) (map[string][]byte, error) {
	shared := map[string][]byte{}
	needed, optional := invite.SharedFiles(externalEtcd)
	for i, path := range append(needed, optional...) {
		data, err := os.ReadFile(filepath.Join("/etc/kubernetes", path))
		if errors.Is(err, fs.ErrNotExist) && i >= len(needed) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read what control planes share: %w", err)
		}
		shared[path] = data
	}
	return shared, nil
}

func authorities(c bootstrap.Cluster, shared map[string][]byte) (*certs.Authorities, error) {
	return certs.LoadAuthorities(func(path string) ([]byte, error) {
		if data, ok := shared[path]; ok {
			return data, nil
		}
		return nil, fmt.Errorf("%q: %w", path, fs.ErrNotExist)
	}, time.Now(), fleet.PKI(c).External()...)
}
