package localcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Dirs are the roots of what Slipway keeps on this computer.
type Dirs struct{ Cache, State, Run string }

// Record is clusters/<name>/cluster.json, written before anything of the cluster is made. It holds no secret.
type Record struct {
	Version int               `json:"v"`
	Created time.Time         `json:"created"`
	Ready   bool              `json:"ready"` // it came up completely once
	Cluster bootstrap.Cluster `json:"cluster"`
	Nodes   []bootstrap.Node  `json:"nodes"`
	Subnet  netip.Prefix      `json:"subnet"`
	Network local.Network     `json:"network"`
	Keys    certs.Algorithm   `json:"keys"`

	// Bare is set for machines without a cluster; of Cluster they have the name only.
	Bare   bool    `json:"bare,omitempty"`
	Shares []Share `json:"shares,omitempty"`
	// Joining are further nodes, whose addition began and was not completed.
	Joining []bootstrap.Node `json:"joining,omitempty"`
	// Leaving are nodes that are out of the cluster already. Their machines are to be removed yet.
	Leaving []bootstrap.Node `json:"leaving,omitempty"`
	// Going are the names of nodes that are being taken out of the cluster: how far that has come, nobody can tell.
	Going  []string `json:"going,omitempty"`
	Mounts []Mount  `json:"mounts,omitempty"`
	// Limits are of each machine, also of those that are added later.
	Limits local.Limits `json:"limits,omitzero"`
	// Roles are what nodes register with, also those that are added later.
	Roles Roles `json:"roles,omitzero"`
	// Removing is set as soon as its removal began: from then on it can only be removed.
	Removing bool `json:"removing,omitempty"`
	// Starting is set from the start of its machines until all is ready again. Unready are the workloads that were not ready
	// when the cluster was last stopped.
	Starting bool     `json:"starting,omitempty"`
	Unready  []string `json:"unready,omitempty"`
	// Frozen are the machines that a snapshot has frozen. Restoring is the snapshot that the cluster is being put back to: until that
	// is done, nothing else can be done with it. From is the one that the cluster was made of, as CLUSTER/NAME.
	Frozen    []string `json:"frozen,omitempty"`
	Restoring string   `json:"restoring,omitempty"`
	From      string   `json:"from,omitempty"`
	// What machines are made of, so that all that are made later are like the first.
	Bundle    string   `json:"bundle"`          // directory
	Asked     string   `json:"asked,omitempty"` // the reference, of a bundle from a registry
	Layers    []string `json:"layers"`          // of the root file systems, topmost first
	Programs  string   `json:"programs"`        // the layer with the bundle's programs
	Store     string   `json:"store"`           // the unpacked containerd store that the machines' are cloned from
	Resolvers []string `json:"resolvers,omitempty"`
	// Kubeconfigs are the files that the cluster's context was merged into.
	Kubeconfigs []string `json:"kubeconfigs,omitempty"`
}

const recordVersion = 1

// Cluster is a cluster that this computer knows of.
type Cluster struct {
	Record
	dirs   Dirs
	source *Snapshot // that its machines are made of, while they are
}

// Open finds the cluster. The fault is cluster-unknown.
func Open(d Dirs, name string) (*Cluster, error) {
	if err := local.CheckRoot(); err != nil {
		return nil, err
	}
	c := &Cluster{dirs: d}
	data, err := os.ReadFile(filepath.Join(home(d, name), "cluster.json"))
	if err == nil {
		err = json.Unmarshal(data, &c.Record)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("cluster-unknown", fmt.Sprintf("find cluster %q", name),
			errors.New("this computer has none of that name"), "see `slipway list`, or launch it with `slipway up --name "+name+"`")
	}
	if err != nil {
		return nil, fmt.Errorf("find cluster %q: %w", name, err)
	}
	if c.Version != recordVersion {
		return nil, fmt.Errorf("find cluster %q: its record has version %d, this program knows %d", name, c.Version, recordVersion)
	}
	return c, nil
}

// All gives all clusters of this computer, by name.
func All(d Dirs) ([]*Cluster, error) {
	if err := local.CheckRoot(); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(d.State, "clusters", "*", "cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	var out []*Cluster
	for _, f := range files {
		c, err := Open(d, filepath.Base(filepath.Dir(f)))
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// Name is the cluster's name; Context the name of its entry in a kubeconfig.
func (c *Cluster) Name() string { return c.Cluster.Name }

// Context is the name of its context in kubeconfigs.
func (c *Cluster) Context() string { return "slipway-" + c.Name() }

// KubeconfigFile is the administrator's kubeconfig, mode 0600.
func (c *Cluster) KubeconfigFile() string { return c.file("kubeconfig") }

// SSHKeyFile is the private key that may log in to every machine as root.
func (c *Cluster) SSHKeyFile() string { return c.file("ssh_key") }

func (c *Cluster) file(name string) string { return filepath.Join(home(c.dirs, c.Name()), name) }

func home(d Dirs, name string) string { return filepath.Join(d.State, "clusters", name) }

// provider reaches the cluster's machines with the runc that made them, which is kept with the cluster
// so that a cluster can be taken down when its bundle is gone.
func (c *Cluster) provider() *local.Provider {
	return local.New(local.Config{StateDir: c.dirs.State, RunDir: c.dirs.Run, Runc: c.file("runc")})
}

// merge puts the cluster's context into a kubeconfig, and remembers that first.
func (c *Cluster) merge(path string) error {
	data, err := c.Kubeconfig()
	if err != nil {
		return err
	}
	if !slices.Contains(c.Kubeconfigs, path) {
		c.Kubeconfigs = append(c.Kubeconfigs, path)
		if err := c.save(); err != nil {
			return err
		}
	}
	return certs.MergeKubeconfig(path, c.Context(), data)
}

func (c *Cluster) save() error {
	return writeJSON(c.file("cluster.json"), c.Record)
}

// writeJSON replaces a file in one step; only root may read it.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return writeFile(path, append(data, '\n'))
}

// writeFile keeps what it has half written beside the file, where `down` removes it: it may be a secret.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

// nameRule keeps names valid as host names with a node's suffix, and short enough for a kernel's devices.
var nameRule = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)

// CheckName tells whether a cluster may have this name. The fault is name-invalid.
func CheckName(name string) error {
	if nameRule.MatchString(name) {
		return nil
	}
	return fault.New("name-invalid", fmt.Sprintf("use the name %q", name),
		errors.New("a cluster's name has 1 to 32 lower-case letters, digits and hyphens, and begins with a letter"),
		"choose another name")
}
