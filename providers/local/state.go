package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// stateVersion is the version of the files below; a change that old readers would
// misunderstand raises it.
const stateVersion = 1

// networkState is clusters/<cluster>/network.json.
type networkState struct {
	Version int     `json:"version"`
	Network Network `json:"network"`
	Metric  int     `json:"metric"` // of this cluster's fences; no other cluster has it
}

// machineState is clusters/<cluster>/machines/<name>/machine.json.
type machineState struct {
	Version   int         `json:"version"`
	Spec      MachineSpec `json:"spec"`
	MachineID string      `json:"machineID"`
	Ready     bool        `json:"ready"` // it was up once, so its files are complete
}

func (p *Provider) networkFile(cluster string) string {
	return filepath.Join(p.clusterHome(cluster), "network.json")
}

func (p *Provider) machineFile(cluster, name string) string {
	return filepath.Join(p.machineHome(cluster, name), "machine.json")
}

// loadNetwork gives nil when the cluster has no network.
func (p *Provider) loadNetwork(cluster string) (*networkState, error) {
	s := new(networkState)
	found, err := readState(p.networkFile(cluster), s, &s.Version)
	if !found || err != nil {
		return nil, err
	}
	return s, nil
}

// loadMachine gives nil when the machine was never recorded.
func (p *Provider) loadMachine(cluster, name string) (*machineState, error) {
	s := new(machineState)
	found, err := readState(p.machineFile(cluster, name), s, &s.Version)
	if !found || err != nil {
		return nil, err
	}
	return s, nil
}

// networks gives the recorded networks of all clusters.
func (p *Provider) networks() ([]*networkState, error) {
	clusters, err := p.clusters()
	if err != nil {
		return nil, err
	}
	var all []*networkState
	for _, c := range clusters {
		s, err := p.loadNetwork(c)
		if err != nil {
			return nil, err
		}
		if s != nil {
			all = append(all, s)
		}
	}
	return all, nil
}

func (p *Provider) clusters() ([]string, error) {
	return subdirectories(filepath.Join(p.cfg.StateDir, "clusters"))
}

// Names gives the machines of a cluster by their directories, without a look into them: what is damaged can still be
// deleted.
func (p *Provider) Names(cluster string) ([]string, error) { return p.machineNames(cluster) }

// machineNames also gives machines of which only a directory is left, so they can be deleted.
func (p *Provider) machineNames(cluster string) ([]string, error) {
	return subdirectories(p.machinesHome(cluster))
}

func subdirectories(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list %q: %w", dir, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func readState(path string, into any, version *int) (bool, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("read state %q: %w", path, err)
	}
	if *version != stateVersion {
		return false, fmt.Errorf("read state %q: it has version %d, and this slipway knows %d", path, *version, stateVersion)
	}
	return true, nil
}

// writeState replaces a file in one step, so a reader, a crash or a power cut leaves the old or the new one.
func writeState(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write state %q: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := renameio.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write state %q: %w", path, err)
	}
	return nil
}
