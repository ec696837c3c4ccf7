package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/certificate/csr"
	"k8s.io/client-go/util/keyutil"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

// JoinOptions say what cluster to join with this server, and as what.
type JoinOptions struct {
	Host
	Endpoint       string // of the API, host:port
	Token          string
	CAHashes       []string
	UnsafeSkipCA   bool
	DiscoveryFile  string // instead of the endpoint, the token for discovery and the hashes
	ControlPlane   bool
	CertificateKey string
}

// joining is what Join has read of its options.
type joining struct {
	JoinOptions
	// plan is set where nothing is to be changed, in the cluster neither.
	plan   bool
	token  discovery.Token
	hashes []discovery.CAHash
	key    invite.Key
}

func (o JoinOptions) read() (*joining, error) {
	j := &joining{JoinOptions: o}
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	bad := func(what, why string) {
		errs = append(errs, fault.New("option-invalid", what, errors.New(why), "see `slipway join --help`"))
	}
	var err error
	if o.Token != "" || o.DiscoveryFile == "" {
		j.token, err = discovery.ParseToken(o.Token)
		add(err)
	}
	j.hashes, err = discovery.ParseCAHashes(o.CAHashes)
	add(err)
	switch {
	case o.DiscoveryFile != "" && o.Endpoint != "":
		bad("use an endpoint with --discovery-file", "the file says where the cluster is")
	case o.DiscoveryFile == "" && o.Endpoint == "":
		bad("join a cluster", "neither an endpoint nor --discovery-file says which")
	}
	switch {
	case o.ControlPlane && o.CertificateKey == "":
		bad("join as a control plane", "there is no --certificate-key")
	case !o.ControlPlane && o.CertificateKey != "":
		bad("use --certificate-key", "it is for --control-plane only")
	case o.ControlPlane:
		j.key, err = invite.ParseKey(o.CertificateKey)
		add(err)
	}
	return j, errors.Join(errs...)
}

// Join makes this server a node of a cluster that runs, or completes what an interrupted run began. Before the cluster
// is known to be the right one nothing is written.
func Join(ctx context.Context, o JoinOptions, report engine.Report) (*Cluster, error) {
	if err := checkRoot(); err != nil {
		return nil, err
	}
	j, err := o.read()
	if err != nil {
		return nil, err
	}
	held, err := node.Lock()
	if err != nil {
		return nil, err
	}
	defer release(held)
	s, err := j.state(ctx, report)
	defer s.close()
	if err != nil {
		return nil, err
	}
	c := described(s.Spec)
	c.Already = s.Done
	if s.Done {
		return c, nil
	}
	if err := s.pull(ctx, o.Host, report); err != nil {
		return nil, err
	}
	ctx, cancel := o.within(ctx, "join the cluster")
	defer cancel()
	return c, s.run(ctx, report)
}

// state is what an earlier run kept, or what a new one begins with.
func (j *joining) state(ctx context.Context, report engine.Report) (*state, error) {
	ctx, cancel := j.within(ctx, "find the cluster")
	defer cancel()
	s, err := earlier()
	if err != nil {
		return nil, err
	}
	if s != nil {
		return s, j.same(s)
	}
	if s, err = j.discover(ctx, report); err != nil {
		return nil, err
	}
	return s, s.save()
}

// same refuses to take this host for a node of another cluster, and to complete an interrupted run with other settings.
func (j *joining) same(s *state) error {
	const op = "join a cluster with this host"
	n := s.Spec.Node
	if n.Init || n.ControlPlane != j.ControlPlane || j.NodeName != "" && j.NodeName != n.Name {
		return alreadyNode(op, s.Spec)
	}
	ca, err := s.authority()
	if err != nil {
		return err
	}
	if len(j.hashes) > 0 && !slices.Contains(j.hashes, discovery.HashOf(ca)) {
		return alreadyNode(op, s.Spec)
	}
	if s.Done {
		return nil
	}
	var d differences
	if err := d.bundle(s, j.Bundle); err != nil {
		return err
	}
	d.compare("interface of the virtual IP", n.VirtualIPInterface, cmp.Or(j.VirtualIPInterface, n.VirtualIPInterface))
	d.compare("skipped steps", skipped(s.Skip), skipped(j.Skip))
	if j.Address.IsValid() {
		d.compare("address", n.Address, j.Address)
	}
	return errors.Join(d...)
}

// PlanJoin lists what Join would change on this server. It writes nothing, in the cluster neither.
func PlanJoin(ctx context.Context, o JoinOptions) ([]engine.Change, error) {
	if err := checkRoot(); err != nil {
		return nil, err
	}
	j, err := o.read()
	if err != nil {
		return nil, err
	}
	j.plan = true
	ctx, cancel := o.within(ctx, "plan to join the cluster")
	defer cancel()
	s, err := earlier()
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		s, err = j.discover(ctx, func(engine.Event) {})
		if err != nil {
			return nil, err
		}
	default:
		if err := j.same(s); err != nil || s.Done {
			return nil, err
		}
	}
	return s.plan(ctx, j.Host)
}

// discover is a step of its own in the events.
func (j *joining) discover(ctx context.Context, report engine.Report) (s *state, err error) {
	n, err := j.node()
	if err != nil {
		return nil, err
	}
	n.ControlPlane, n.Joins = j.ControlPlane, j.ControlPlane
	step := engine.Step{
		Name:  "discover",
		Check: func(context.Context) ([]string, error) { return []string{"ask the cluster"}, nil },
		Do: func(ctx context.Context, progress func(string)) error {
			s, err = j.begin(ctx, n, progress)
			return err
		},
	}
	return s, engine.Run(ctx, n.Name, []engine.Step{step}, report)
}

// begin opens the bundle, finds the cluster, and makes the specification from what it says. Nothing has been written when
// it returns.
func (j *joining) begin(ctx context.Context, n bootstrap.Node, progress func(string)) (*state, error) {
	b, err := j.open(ctx)
	if err != nil {
		return nil, err
	}
	s, err := j.specify(ctx, n, b, progress)
	if err != nil {
		b.close()
		return nil, err
	}
	return s.with(b), nil
}

func (j *joining) specify(ctx context.Context, n bootstrap.Node, b *source, progress func(string)) (*state, error) {
	found, credentials, err := j.find(ctx, progress)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(credentials)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	c, err := readCluster(ctx, client)
	if err != nil {
		return nil, fault.New("endpoint-unreachable", "join the cluster at "+credentials.Host, err,
			"see whether the API is up there, and whether the token may still be used: `slipway token list` on a control plane")
	}
	u, err := url.Parse(found.Server)
	if err != nil {
		return nil, fmt.Errorf("read the API's address: %w", err)
	}
	c.Endpoint = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443"))
	shared, err := j.shared(ctx, client)
	if err != nil {
		return nil, err
	}
	err = errors.Join(checkVersion(b.Bundle, c, j.ControlPlane), checkName(ctx, client, n.Name), j.placeVirtualIP(&n, c, b.Bundle))
	err = errors.Join(err, j.preflight(ctx, &n, c, b, found.ClockSkew, sharedEtcd(c, shared)))
	if err != nil {
		return nil, err
	}
	s := &state{Skip: j.Skip}
	if j.ControlPlane {
		s.Spec, err = controlPlane(c, n, shared, b.dir)
	} else {
		s.Spec, err = j.worker(ctx, client, c, n, found.CA, b.dir, progress)
	}
	if err == nil && j.Endpoint != "" {
		s.Spec.Servers = []string{j.Endpoint}
	}
	return s, err
}

// find gives the cluster, and with what to speak to it.
func (j *joining) find(ctx context.Context, progress func(string)) (*discovery.Cluster, *rest.Config, error) {
	cfg := &rest.Config{UserAgent: "slipway"}
	if j.token.ID != "" {
		cfg.BearerToken = j.token.Reveal()
	}
	var found *discovery.Cluster
	var err error
	if j.DiscoveryFile != "" {
		found, err = j.findByFile(ctx, cfg, progress)
	} else {
		found, err = discovery.Discover(ctx, discovery.Options{
			Endpoint: j.Endpoint, Token: j.token, CAHashes: j.hashes, UnsafeSkipCAVerification: j.UnsafeSkipCA, Progress: progress,
		})
	}
	if err != nil {
		return nil, nil, err
	}
	cfg.Host, cfg.CAData = found.Server, found.CA
	if j.Endpoint != "" { // it has proved to be of the cluster; the server that the cluster names may be the one that was lost
		cfg.Host = "https://" + j.Endpoint
	}
	return found, cfg, nil
}

func (j *joining) findByFile(ctx context.Context, cfg *rest.Config, progress func(string)) (*discovery.Cluster, error) {
	found, user, err := discovery.FromFile(ctx, j.DiscoveryFile, progress)
	if err != nil {
		return nil, err
	}
	if user != nil {
		cfg.BearerToken, cfg.CertData, cfg.KeyData = user.Token, user.ClientCertificateData, user.ClientKeyData
	}
	if cfg.BearerToken == "" && len(cfg.CertData) == 0 {
		return nil, fault.New("option-invalid", fmt.Sprintf("join with discovery file %q", j.DiscoveryFile),
			errors.New("it has no credentials, and there is no --token"), "see `slipway join --help`")
	}
	return found, nil
}

// worker asks the cluster for a kubelet's certificate. Whoever may approve does that at once for a host with a token.
func (j *joining) worker(
	ctx context.Context, client kubernetes.Interface, c bootstrap.Cluster, n bootstrap.Node, ca []byte, bundle string, progress func(string),
) (*bootstrap.NodeSpec, error) {
	n.Serving = bootstrap.ServingRequested
	if c.Kubeadm {
		n.Serving = bootstrap.ServingSelfSigned // nobody there approves requests for serving certificates
	}
	progress("ask for the kubelet's certificate")
	var cert, key []byte
	var err error
	if !j.plan {
		if cert, key, err = requestClient(ctx, client, n.Name); err != nil {
			return nil, err
		}
	}
	kubeconfig, err := certs.KubeletKubeconfig(c.Name, fleet.NodeAPI(c), ca, n.Name)
	if err != nil {
		return nil, err
	}
	files := append([]certs.File{
		{Path: "pki/ca.crt", Data: ca, Mode: 0o644}, {Path: "kubelet.conf", Data: kubeconfig, Mode: 0o600},
	}, certs.RotatedFiles(cert, key, time.Now())...)
	return &bootstrap.NodeSpec{Version: bootstrap.SpecVersion, Cluster: c, Node: n, Bundle: bundle, Files: fleet.Identity(files)}, nil
}

// approvalTime is how long a request for a certificate may take: the controller that approves may have to start first.
const approvalTime = 2 * time.Minute

func requestClient(ctx context.Context, client kubernetes.Interface, name string) (cert, keyPEM []byte, err error) {
	const op = "get the kubelet's certificate"
	request, keyPEM, err := certs.NewRequest(certs.ECDSA, "system:node:"+name, "system:nodes", nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	id, uid, err := csr.RequestCertificateWithContext(
		ctx, client, request, "", certificatesv1.KubeAPIServerClientKubeletSignerName, nil, usages, key)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	ctx, cancel := context.WithTimeout(ctx, approvalTime)
	defer cancel()
	cert, err = csr.WaitForCertificate(ctx, client, id, uid)
	if err != nil {
		return nil, nil, fault.New("certificate-not-signed", op, err,
			fmt.Sprintf("look at `kubectl describe csr %s`; a controller manager must run, and tokens of group %s be approved",
				id, invite.NodeGroup))
	}
	return cert, keyPEM, nil
}

// shared is what control planes share, by paths below /etc/kubernetes; nil for a worker.
func (j *joining) shared(ctx context.Context, client kubernetes.Interface) (map[string][]byte, error) {
	if !j.ControlPlane {
		return nil, nil
	}
	return invite.DownloadCertificates(ctx, client, j.key)
}

// controlPlane signs this host's certificates itself, with the authorities that the control planes share.
func controlPlane(c bootstrap.Cluster, n bootstrap.Node, shared map[string][]byte, bundle string) (*bootstrap.NodeSpec, error) {
	cas, err := authorities(c, shared)
	if err != nil {
		return nil, err
	}
	c.ControlPlanes = []bootstrap.Member{{Name: n.Name, Address: n.Address}} // who else there is, etcd knows
	s, err := fleet.NewSpec(c, n, cas, bundle, time.Now())
	if err != nil {
		return nil, err
	}
	s.Files = append(s.Files, externalEtcdFiles(sharedEtcd(c, shared))...)
	_, optional := invite.SharedFiles(len(c.ExternalEtcd) > 0)
	for _, path := range optional {
		if data, ok := shared[path]; ok {
			s.Files = append(s.Files, engine.File{Path: filepath.Join("/etc/kubernetes", path), Data: data, Mode: 0o600})
		}
	}
	return s, nil
}
