package server

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/util/cert"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
)

// state is what a server keeps of its own specification. Until it has converged that includes its keys; afterwards these
// are only in the files that they were written to.
type state struct {
	Version int                 `json:"v"`
	Done    bool                `json:"done"`
	Left    bool                `json:"left,omitempty"` // the cluster: a reset has begun, and was not completed
	Spec    *bootstrap.NodeSpec `json:"spec"`
	Skip    []string            `json:"skip,omitempty"` // steps that the administrator does himself
	From    *origin             `json:"from,omitempty"` // of a bundle from a registry

	source *source // nil, or the bundle as it was opened
}

const stateVersion = 1

func stateFile() string { return filepath.Join(node.StateDir, "node.json") }

// load gives nil for a host that is no node and never was about to be.
func load() (*state, error) {
	data, err := os.ReadFile(stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what this host is: %w", err)
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read what this host is: %q: %w", stateFile(), err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("read what this host is: %q has version %d, this program knows %d", stateFile(), s.Version, stateVersion)
	}
	return &s, nil
}

// earlier is load for whoever wants this host to be a node. The fault is reset-unfinished.
func earlier() (*state, error) {
	s, err := load()
	if err == nil && s != nil && s.Left {
		return nil, fault.New("reset-unfinished", "make this host a node",
			errors.New("a reset of it was interrupted, after it had left its cluster"), "complete that first: `slipway reset`")
	}
	return s, err
}

func (s *state) save() error {
	s.Version = stateVersion
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("keep what this host is: %w", err)
	}
	if err := os.MkdirAll(node.StateDir, 0o700); err != nil {
		return fmt.Errorf("keep what this host is: %w", err)
	}
	if err := clearUnwritten(stateFile()); err != nil {
		return fmt.Errorf("keep what this host is: %w", err)
	}
	if err := renameio.WriteFile(stateFile(), append(data, '\n'), 0o600, renameio.WithTempDir(node.StateDir)); err != nil {
		return fmt.Errorf("keep what this host is: %w", err)
	}
	return nil
}

// clearUnwritten removes what writers that were killed have left beside a file; it may hold secrets. renameio begins its names so.
func clearUnwritten(path string) error {
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"*"))
	for _, one := range left {
		err = errors.Join(err, os.Remove(one))
	}
	return err
}

// finish forgets the secrets, once all that was written is on the disk: nobody writes it again after a loss of power.
func (s *state) finish() error {
	unix.Sync()
	s.Done, s.Spec.Files, s.Spec.Invite = true, nil, nil
	return s.save()
}

// authority is the certificate of the cluster's. Once this host is a node, that is only in its file.
func (s *state) authority() (*x509.Certificate, error) {
	const op = "read which cluster this host is of"
	i := slices.IndexFunc(s.Spec.Files, func(f engine.File) bool { return f.Path == caFile })
	var data []byte
	if i >= 0 {
		data = s.Spec.Files[i].Data
	} else {
		var err error
		if data, err = os.ReadFile(caFile); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	all, err := cert.ParseCertsPEM(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %q: %w", op, caFile, err)
	}
	return all[0], nil
}

// release gives the lock back. On a host that nothing is known of and nothing was changed on, nothing stays.
func release(held *flock.Lock) {
	changed, err := node.HasJournal()
	if err != nil || changed || exists(stateFile()) {
		held.Unlock()
		return
	}
	_ = errors.Join(clearUnwritten(stateFile()), clearUnwritten(node.BalancerServers))
	held.Remove()
	_ = os.Remove(node.StateDir) // only if nothing else is in it
}
