package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/bootstrap/settings"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
)

// Host is what init and join have in common.
type Host struct {
	NodeName string     // empty: the host's name
	Address  netip.Addr // zero: that of the default route
	Bundle   string     // directory, or reference to a registry
	// KubernetesVersion is the version or minor that the bundle must be of; empty: any.
	KubernetesVersion string
	Registry          registry.Options // how one is trusted
	// VirtualIPInterface is the link that may get the cluster's virtual IP; empty: that with the host's address.
	VirtualIPInterface string

	Ignore []string // checks whose problems are only reported
	Skip   []string // steps that the administrator does himself
	Wait   time.Duration
	// Warn is told what a node can live with; it may be nil.
	Warn func(preflight.Finding)
}

// within ends what takes longer than the administrator wants to wait.
func (h Host) within(ctx context.Context, op string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, h.Wait, fault.New("not-ready-in-time", op, fmt.Errorf("it took longer than %v", h.Wait),
		"run the same command with a longer --wait: it goes on where it stopped"))
}

// InitOptions say what cluster to begin on this server.
type InitOptions struct {
	Host
	ClusterName          string
	Endpoint             string       // host or host:port; empty: the virtual IP, or else this server's address
	VirtualIP            netip.Prefix // zero: none
	PodCIDR, ServiceCIDR netip.Prefix
	DNSDomain            string
	CNI                  string // calico or none
	ExtraSANs            []string
	Keys                 certs.Algorithm
	Workloads            bool // let workloads run on this control plane
	UploadCerts          bool
	TokenTTL             time.Duration
	ExternalEtcd         *ExternalEtcd // nil: a member on each control plane
	Settings             settings.Settings
	// Origin says where the options come from, for errors; it may be nil.
	Origin *config.Origin
}

// Cluster is what Init and Join have to say at their end.
type Cluster struct {
	Name              string `json:"name"`
	Endpoint          string `json:"endpoint"`
	KubernetesVersion string `json:"kubernetesVersion"`
	NodeName          string `json:"nodeName"`
	Already           bool   `json:"already,omitempty"` // it was there, and nothing was changed
	NoCNI             bool   `json:"noCNI,omitempty"`   // nodes get ready once the administrator has installed a network
	// The commands to join with, which hold secrets: only of a cluster that Init has just begun.
	JoinWorker       string `json:"joinWorker,omitempty"`
	JoinControlPlane string `json:"joinControlPlane,omitempty"`
}

func (o InitOptions) validate() error {
	var errs []error
	bad := func(flag, value string, err error) {
		errs = append(errs, fault.New("option-invalid", "use "+o.Origin.Flag(flag, value), err, "see `slipway init --help`"))
	}
	for _, r := range bootstrap.CheckRanges(netip.Prefix{}, o.PodCIDR, o.ServiceCIDR, 1) {
		bad(r.Flag, r.Value.String(), r.Err)
	}
	if o.CNI != "calico" && o.CNI != "none" {
		bad("--cni", strconv.Quote(o.CNI), errors.New("it is calico or none"))
	}
	if o.Keys != certs.ECDSA && o.Keys != certs.RSA {
		bad("--key-algorithm", strconv.Quote(string(o.Keys)), fmt.Errorf("it is %q or %q", certs.ECDSA, certs.RSA))
	}
	if o.TokenTTL < 0 {
		bad("--token-ttl", o.TokenTTL.String(), errors.New("it is negative"))
	}
	if _, err := endpointOf(o.Endpoint, netip.IPv4Unspecified()); err != nil {
		bad("--control-plane-endpoint", strconv.Quote(o.Endpoint), err)
	}
	if o.ExternalEtcd != nil && !exists(stateFile()) { // an earlier run has taken the files already
		_, err := o.ExternalEtcd.read(time.Now())
		errs = append(errs, err)
	}
	return errors.Join(append(errs, o.checkVirtualIP(), o.checkSettings(o.KubernetesVersion))...)
}

// endpointOf adds what is left out.
func endpointOf(text string, own netip.Addr) (string, error) {
	if text == "" {
		return fleet.APIAddress(own), nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = text, fmt.Sprint(bootstrap.APIPort)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q is not a port", port)
	}
	if _, err := netip.ParseAddr(host); err != nil && !validHost(host) {
		return "", fmt.Errorf("%q is neither an address nor a name", host)
	}
	return net.JoinHostPort(host, port), nil
}

// Init makes this server the first control plane of a new cluster, or completes what an interrupted run began. On a server
// that is a node already nothing is changed.
func Init(ctx context.Context, o InitOptions, report engine.Report) (*Cluster, error) {
	if err := errors.Join(checkRoot(), o.validate()); err != nil {
		return nil, err
	}
	held, err := node.Lock()
	if err != nil {
		return nil, err
	}
	defer release(held)
	s, err := o.state(ctx)
	defer s.close()
	if err != nil {
		return nil, err
	}
	if s.Done {
		c := described(s.Spec)
		c.Already = true
		return c, nil
	}
	c, err := invitation(s.Spec)
	if err != nil {
		return nil, err
	}
	if err := s.pull(ctx, o.Host, report); err != nil {
		return nil, err
	}
	ctx, cancel := o.within(ctx, "bring up the control plane")
	defer cancel()
	return c, s.run(ctx, report)
}

// state is what an earlier run kept, or what a new one begins with.
func (o InitOptions) state(ctx context.Context) (*state, error) {
	s, err := earlier()
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		if s, err = o.begin(ctx); err != nil {
			return nil, err
		}
		return s, s.save()
	case !s.Spec.Node.Init:
		return nil, alreadyNode("begin a cluster on this host", s.Spec)
	case s.Done:
		return s, nil
	}
	return s, o.same(s)
}

// described is what there is to say of a node.
func described(s *bootstrap.NodeSpec) *Cluster {
	return &Cluster{
		Name: s.Cluster.Name, Endpoint: s.Cluster.Endpoint, KubernetesVersion: s.Cluster.KubernetesVersion, NodeName: s.Node.Name,
		NoCNI: s.Cluster.NoCNI,
	}
}

// PlanInit lists what Init would change. It writes nothing.
func PlanInit(ctx context.Context, o InitOptions) ([]engine.Change, error) {
	if err := errors.Join(checkRoot(), o.validate()); err != nil {
		return nil, err
	}
	s, err := earlier()
	if err != nil {
		return nil, err
	}
	switch {
	case s == nil:
		if s, err = o.begin(ctx); err != nil {
			return nil, err
		}
	case s.Done:
		return nil, nil
	}
	return s.plan(ctx, o.Host)
}

// IsNode tells whether Init or Join has made this host a node.
func IsNode() (bool, error) {
	s, err := earlier()
	return s != nil && s.Done, err
}

// PlanNode lists what differs on this server, and in the cluster that it has begun, from what Init or Join made. It writes
// nothing. The fault is not-a-node.
func PlanNode(ctx context.Context, r registry.Options) ([]engine.Change, error) {
	if err := checkRoot(); err != nil {
		return nil, err
	}
	s, err := earlier()
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, fault.New("not-a-node", "see what differs on this host", errors.New("neither init nor join has made it a node"),
			"see what these would change: `slipway init --dry-run`, `slipway join --dry-run`")
	}
	return s.plan(ctx, Host{Registry: r})
}

func (s *state) steps(ctx context.Context) ([]engine.Step, error) {
	steps, err := node.Prepare(ctx, s.Spec)
	if err != nil {
		return nil, err
	}
	return engine.Without(steps, withReady(s.Skip, steps))
}

// withReady adds the steps that wait for what those that are skipped would have made: it may only come when this has ended.
func withReady(skip []string, steps []engine.Step) []string {
	out := slices.Clone(skip)
	for _, s := range steps {
		if made, waits := strings.CutSuffix(s.Name, "-ready"); waits && slices.Contains(skip, made) && !slices.Contains(skip, s.Name) {
			out = append(out, s.Name)
		}
	}
	return out
}

// plan needs of a bundle only what is small.
func (s *state) plan(ctx context.Context, h Host) ([]engine.Change, error) {
	defer s.close()
	if err := s.open(ctx, h); err != nil {
		return nil, err
	}
	if s.source != nil {
		s.Spec.Bundle = s.source.Dir()
	}
	steps, err := s.steps(ctx)
	if err != nil {
		return nil, err
	}
	changes, err := engine.Plan(ctx, s.Spec.Node.Name, steps)
	return append(s.source.planned(), changes...), err
}

func (s *state) run(ctx context.Context, report engine.Report) error {
	steps, err := s.steps(ctx)
	if err != nil {
		return err
	}
	if err := engine.Run(ctx, s.Spec.Node.Name, steps, report); err != nil {
		node.Explain(ctx, err)
		return err
	}
	return s.finish()
}

// begin opens the bundle and makes the specification, with all keys. Nothing has been written when it returns.
func (o InitOptions) begin(ctx context.Context) (*state, error) {
	n, err := o.node()
	if err != nil {
		return nil, err
	}
	n.Init, n.ControlPlane = true, true
	b, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	s, err := o.specify(ctx, n, b)
	if err != nil {
		b.close()
		return nil, err
	}
	return s.with(b), nil
}

func (o InitOptions) specify(ctx context.Context, n bootstrap.Node, b *source) (*state, error) {
	endpoint, err := o.endpoint(n.Address)
	if err != nil {
		return nil, err
	}
	c := bootstrap.Cluster{
		Name: o.ClusterName, KubernetesVersion: b.KubernetesVersion(), PodCIDR: o.PodCIDR, ServiceCIDR: o.ServiceCIDR,
		DNSDomain: o.DNSDomain, Endpoint: endpoint, ControlPlanes: []bootstrap.Member{{Name: n.Name, Address: n.Address}},
		ExtraSANs: o.ExtraSANs, Dedicated: !o.Workloads, NoCNI: o.CNI == "none", Balanced: true, UpstreamDNS: hasResolver(),
		ExternalEtcd: o.ExternalEtcd.urls(),
		VirtualIP:    o.VirtualIP,
		Settings:     o.Settings,
	}
	if err := o.checkSettings(c.KubernetesVersion); err != nil {
		return nil, err
	}
	now := time.Now()
	external, err := o.external(now)
	if err != nil {
		return nil, err
	}
	err = o.placeVirtualIP(&n, c, b.Bundle)
	if err := errors.Join(err, o.preflight(ctx, &n, c, b, 0, external)); err != nil {
		return nil, err
	}
	cas, err := certs.LoadAuthorities(certs.Host("/"), now, fleet.PKI(c).External()...)
	if err != nil {
		return nil, err
	}
	if err := cas.Complete(o.Keys, now); err != nil {
		return nil, err
	}
	plan, err := fleet.NewPlan(c, []bootstrap.Node{n}, cas, b.dir, now)
	if err != nil {
		return nil, err
	}
	s := &state{Spec: plan.Specs[0], Skip: o.Skip}
	s.Spec.Files = append(s.Spec.Files, externalEtcdFiles(external)...)
	s.Spec.Invite, err = newInvite(o)
	return s, err
}

func (h Host) node() (bootstrap.Node, error) {
	n := bootstrap.Node{Name: h.NodeName, Address: h.Address, Shared: inContainer()}
	var errs [2]error
	if n.Name == "" {
		n.Name, errs[0] = hostName()
	}
	if !n.Address.IsValid() {
		n.Address, errs[1] = hostAddress()
	}
	return n, errors.Join(errs[:]...)
}

func newInvite(o InitOptions) (*bootstrap.Invite, error) {
	t, err := discovery.NewToken()
	if err != nil {
		return nil, err
	}
	i := &bootstrap.Invite{Token: t.Reveal(), TTL: o.TokenTTL}
	if o.UploadCerts {
		key, err := invite.NewKey()
		if err != nil {
			return nil, err
		}
		i.CertificateKey = key.Reveal()
	}
	return i, nil
}

// invitation gives the commands to join with, which are known before the cluster is.
func invitation(s *bootstrap.NodeSpec) (*Cluster, error) {
	c := described(s)
	t, err := discovery.ParseToken(s.Invite.Token)
	if err != nil {
		return nil, err
	}
	ca := s.Files[slices.IndexFunc(s.Files, func(f engine.File) bool { return f.Path == caFile })].Data
	if c.JoinWorker, err = invite.JoinCommand(c.Endpoint, t, ca, invite.Key{}); err != nil || s.Invite.CertificateKey == "" {
		return c, err
	}
	key, err := invite.ParseKey(s.Invite.CertificateKey)
	if err != nil {
		return nil, err
	}
	c.JoinControlPlane, err = invite.JoinCommand(c.Endpoint, t, ca, key)
	return c, err
}

const caFile = "/etc/kubernetes/pki/ca.crt"
