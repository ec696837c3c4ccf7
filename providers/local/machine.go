package local

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/internal/fault"
)

// MachineSpec says what machine to make.
type MachineSpec struct {
	Cluster       string                `json:"cluster"`
	Name          string                `json:"name"`
	Address       netip.Addr            `json:"address"`           // on eth0, with the length of the cluster's subnet
	Address6      netip.Addr            `json:"address6,omitzero"` // the same way, where the network has IPv6
	Layers        []string              `json:"layers"`            // read-only directories, topmost first
	Binds         []Bind                `json:"binds,omitempty"`
	OnLink        []netip.Prefix        `json:"onLink,omitempty"` // reached directly through eth0
	Labels        map[string]string     `json:"labels,omitempty"`
	AuthorizedKey string                `json:"authorizedKey,omitempty"` // one line; may log in as root
	Hosts         map[string]netip.Addr `json:"hosts,omitempty"`         // further lines of /etc/hosts
	Resolvers     []string              `json:"resolvers,omitempty"`
	Limits
}

// Limits are what a machine may use of this computer; zero is all there is.
type Limits struct {
	CPUs   float64 `json:"cpus,omitempty"`   // processors' time per time
	Memory int64   `json:"memory,omitempty"` // bytes, with what the kernel keeps of files
}

// Bind puts a directory or file of this computer into the machine. A Source that is no absolute
// path is below MachineDir, and made as an empty directory if it is missing; any other must be there.
type Bind struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// State is what a machine does.
type State string

// The states of a machine.
const (
	Stopped State = "stopped"
	Running State = "running"
	Paused  State = "paused" // its processes are there and frozen
)

// Machine is a machine as it was when it was looked at.
type Machine struct {
	provider *Provider
	spec     MachineSpec
	state    State
	pid      int
	started  time.Time
	hostKey  ssh.PublicKey
}

// Name is the machine's name in its cluster, and its host name.
func (m *Machine) Name() string { return m.spec.Name }

// Cluster is the name of the cluster that the machine belongs to.
func (m *Machine) Cluster() string { return m.spec.Cluster }

// Address is the machine's address on the cluster's network.
func (m *Machine) Address() netip.Addr { return m.spec.Address }

// Labels are the caller's own, as given to Create.
func (m *Machine) Labels() map[string]string { return m.spec.Labels }

// Dir is the machine's plain directory on this computer, which is the caller's to use.
func (m *Machine) Dir() string { return m.provider.MachineDir(m.spec.Cluster, m.spec.Name) }

// Pid is the process id of the machine's systemd on this computer, 0 when it does not run.
func (m *Machine) Pid() int { return m.pid }

// State is what the machine did when it was looked at.
func (m *Machine) State() State { return m.state }

// Running tells whether the machine ran when it was looked at, and was not paused.
func (m *Machine) Running() bool { return m.state == Running }

// Started is when the machine was started that runs or is paused.
func (m *Machine) Started() time.Time { return m.started }

// HostKey is what the machine's sshd proves to be. It is nil when the machine was only half made.
func (m *Machine) HostKey() ssh.PublicKey { return m.hostKey }

func (m *Machine) id() string { return machineID(m.spec.Cluster, m.spec.Name) }

func (s MachineSpec) check() error {
	if err := checkNames(s.Cluster, s.Name); err != nil {
		return err
	}
	if !s.Address.Is4() {
		return fmt.Errorf("make machine %q: %q is not an IPv4 address", s.Name, s.Address)
	}
	if len(s.Layers) == 0 {
		return fmt.Errorf("make machine %q: it has no layers", s.Name)
	}
	for _, l := range s.Layers {
		if _, err := os.Stat(l); err != nil {
			return fmt.Errorf("make machine %q: look at its layer: %w", s.Name, err)
		}
	}
	return nil
}

// machine looks at the machine as it is now.
func (p *Provider) machine(ctx context.Context, s *machineState) (*Machine, error) {
	m := &Machine{provider: p, spec: s.Spec, state: Stopped}
	c, err := p.container(ctx, s.Spec.Cluster, s.Spec.Name)
	if err != nil {
		return nil, err
	}
	if c != nil {
		m.state, m.pid, m.started = State(c.Status), c.Pid, c.Created
	}
	if m.hostKey, err = readHostKey(p.machineHome(s.Spec.Cluster, s.Spec.Name)); err != nil {
		return nil, err
	}
	return m, nil
}

// container gives nil for one that is not there, or of which no process is left.
func (p *Provider) container(ctx context.Context, cluster, name string) (*runc.Container, error) {
	id := machineID(cluster, name)
	if !p.hasContainer(id) {
		return nil, nil
	}
	c, err := p.runc.State(ctx, id)
	if err != nil && !p.hasContainer(id) { // deleted just now
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the state of machine %q: %w", name, err)
	}
	if s := State(c.Status); s != Running && s != Paused {
		return nil, nil
	}
	return c, nil
}

// hasContainer tells whether runc knows the container, without the cost of asking it.
func (p *Provider) hasContainer(id string) bool {
	_, err := os.Stat(filepath.Join(p.runc.Root, id, "state.json"))
	return err == nil
}

// List gives the machines of a cluster, of all clusters if it is "", from the provider's own
// state; those that were only half made are among them.
func (p *Provider) List(ctx context.Context, cluster string) ([]*Machine, error) {
	clusters := []string{cluster}
	if cluster == "" {
		var err error
		if clusters, err = p.clusters(); err != nil {
			return nil, err
		}
	}
	var all []*Machine
	for _, c := range clusters {
		names, err := p.machineNames(c)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			m, err := p.look(ctx, c, name)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
	}
	return all, nil
}

func (p *Provider) look(ctx context.Context, cluster, name string) (*Machine, error) {
	s, err := p.loadMachine(cluster, name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return &Machine{provider: p, spec: MachineSpec{Cluster: cluster, Name: name}, state: Stopped}, nil
	}
	return p.machine(ctx, s)
}

func sameMachine(have, want MachineSpec) error {
	if reflect.DeepEqual(normal(have), normal(want)) {
		return nil
	}
	return fault.New("machine-differs", fmt.Sprintf("make machine %q of cluster %q", want.Name, want.Cluster),
		fmt.Errorf("it exists with other settings than asked for"), "delete it first")
}

// normal makes empty and absent equal, as JSON does not keep them apart.
func normal(s MachineSpec) MachineSpec {
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if (f.Kind() == reflect.Slice || f.Kind() == reflect.Map) && f.Len() == 0 {
			f.SetZero()
		}
	}
	return s
}
