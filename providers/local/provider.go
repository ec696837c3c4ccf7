package local

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	runc "github.com/containerd/go-runc"

	"slipway.dev/slipway/internal/fault"
)

// Config says where the provider keeps what it makes.
type Config struct {
	StateDir string // clusters/<cluster>/... lies below it and survives a restart of the computer
	RunDir   string // locks and runc's own state; may be gone after a restart of the computer
	Runc     string // path of the runc binary
}

// Provider makes, lists and deletes machines and the networks they are on.
type Provider struct {
	cfg  Config
	runc *runc.Runc
}

// New makes a provider. It touches nothing yet.
func New(cfg Config) *Provider {
	return &Provider{cfg: cfg, runc: &runc.Runc{
		Command:   cfg.Runc,
		Root:      filepath.Join(cfg.RunDir, "runc"),
		LogFormat: runc.JSON,
		// A runc that outlived a killed slipway would go on making what the next one deletes.
		PdeathSignal: syscall.SIGKILL,
	}}
}

// MachineDir is the directory that Machine.Dir gives, known before the machine exists, so that
// the caller can lay out what it binds into it. Delete removes it.
func (p *Provider) MachineDir(cluster, name string) string {
	return filepath.Join(p.machineHome(cluster, name), "data")
}

func (p *Provider) clusterHome(cluster string) string {
	return filepath.Join(p.cfg.StateDir, "clusters", cluster)
}

func (p *Provider) machinesHome(cluster string) string {
	return filepath.Join(p.clusterHome(cluster), "machines")
}

func (p *Provider) machineHome(cluster, name string) string {
	return filepath.Join(p.machinesHome(cluster), name)
}

const idPrefix = "slipway-"

// machineID names a machine among all machines of this computer: its container and its network
// namespace. The dot keeps cluster "a-b" with machine "c" apart from cluster "a" with "b-c",
// as neither name can hold one.
func machineID(cluster, name string) string {
	return idPrefix + cluster + "." + name
}

func splitMachineID(id string) (cluster, name string, ok bool) {
	return strings.Cut(strings.TrimPrefix(id, idPrefix), ".")
}

// cgroupPath is the path of a machine's subtree in every cgroup hierarchy.
func cgroupPath(cluster, name string) string {
	return filepath.Join("/", cgroupRoot, cluster, name)
}

// shortHash gives n hex digits for device names, which the kernel limits to 15 bytes.
func shortHash(n int, parts ...string) string {
	h := sha256.New()
	for _, s := range parts {
		fmt.Fprintf(h, "%s\x00", s)
	}
	return hex.EncodeToString(h.Sum(nil))[:n]
}

// nameForm is the form of a DNS label: a name becomes a host name, a directory and a cgroup.
const nameForm = `^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`

func checkName(kind, name string) error {
	if regexp.MustCompile(nameForm).MatchString(name) {
		return nil
	}
	return fault.New("name-invalid", fmt.Sprintf("use %q as the name of a %s", name, kind),
		fmt.Errorf("a name has 1 to 63 lower-case letters, digits and hyphens, and neither begins nor ends with a hyphen"),
		"choose another name")
}

func checkNames(cluster, name string) error {
	if err := checkName("cluster", cluster); err != nil {
		return err
	}
	return checkName("machine", name)
}
