package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

// Renewal is what RenewCertificates has done.
type Renewal struct {
	Certificates []certs.Status `json:"certificates"`       // that were renewed, as they are now
	Restarted    []string       `json:"restarted"`          // static pods that do not read a new certificate by themselves
	External     []certs.Status `json:"external,omitempty"` // that somebody else renews
	Warning      string         `json:"warning,omitempty"`
}

// RenewCertificates makes new certificates and keys for the named ones, or for all that this control plane has, signs
// them with the authorities that lie here, and has what runs here use them. Kubeadm's control planes are served too.
func RenewCertificates(ctx context.Context, names []string, report engine.Report) (*Renewal, error) {
	if err := checkRoot(); err != nil {
		return nil, err
	}
	held, err := node.Lock()
	if err != nil {
		return nil, err
	}
	defer release(held)
	s, err := load()
	if err != nil {
		return nil, err
	}
	ours, err := node.HasJournal()
	if err != nil {
		return nil, err
	}
	journal := filepath.Join(node.StateDir, "journal.jsonl")
	if !ours { // a reset must find no journal of a host that Slipway did not make: it would stop what runs there
		journal = filepath.Join(node.StateDir, "renewal.jsonl")
	}
	j, err := engine.OpenJournal(journal)
	if err != nil {
		return nil, err
	}
	r := &renewal{
		root: "/", state: s, names: names, host: engine.NewHost(j), restart: restartOn(cri.Socket),
		cluster: func(ctx context.Context) (bootstrap.Cluster, error) { return askCluster(ctx, AdminKubeconfig) },
	}
	out, err := r.run(ctx, report)
	if !ours {
		err = errors.Join(err, j.Remove())
	}
	return out, err
}

func restartOn(socket string) func(context.Context, string, string, func(string)) error {
	return func(ctx context.Context, component, node string, progress func(string)) error {
		return cri.Restart(ctx, socket, component, node, progress)
	}
}

// renewal is one run of RenewCertificates.
type renewal struct {
	root    string // of the host's file system
	state   *state // nil where Slipway did not make the node
	names   []string
	host    *engine.Host
	cluster func(context.Context) (bootstrap.Cluster, error) // asks it what it is, where the host does not know
	// restart ends a static pod's container on a node, and waits for the next.
	restart func(ctx context.Context, component, node string, progress func(string)) error

	files   []engine.File // that are to be written
	renewed []string      // names of their certificates
	// externalEtcd is set where etcd's certificates are somebody else's.
	externalEtcd bool
	warning      string
}

func (r *renewal) run(ctx context.Context, report engine.Report) (*Renewal, error) {
	n, err := r.node()
	if err != nil {
		return nil, err
	}
	if err := r.sign(ctx, n); err != nil {
		return nil, err
	}
	if err := engine.Run(ctx, n.Name, r.steps(n), report); err != nil {
		return nil, err
	}
	all, err := certs.Check(r.root, certs.Cluster{ExternalEtcd: r.externalEtcd}, certs.Node{}, time.Now())
	if err != nil {
		return nil, err
	}
	out := &Renewal{Certificates: []certs.Status{}, Restarted: r.toRestart(), Warning: r.warning}
	for _, s := range all {
		switch {
		case slices.Contains(r.renewed, s.Name):
			out.Certificates = append(out.Certificates, s)
		case s.External && s.Authority != "" && len(r.names) == 0:
			out.External = append(out.External, s)
		}
	}
	return out, nil
}

// sign makes all the files, of which none is written yet.
func (r *renewal) sign(ctx context.Context, n certs.Node) error {
	now := time.Now()
	c, err := r.pki(ctx)
	if err != nil {
		return err
	}
	r.externalEtcd = c.ExternalEtcd
	cas, err := certs.LoadAuthorities(certs.Host(r.root), now, c.External()...)
	if err != nil {
		return err
	}
	files, err := cas.Renew(c, n, r.names, certs.Host(r.root), now)
	if err != nil {
		return err
	}
	for _, e := range certs.Table() {
		if slices.ContainsFunc(files, func(f certs.File) bool { return f.Path == e.Path || f.Path == e.Path+".crt" }) {
			r.renewed = append(r.renewed, e.Name)
		}
	}
	r.files = fleet.Identity(files)
	for i := range r.files {
		r.files[i].Path = filepath.Join(r.root, r.files[i].Path)
	}
	return nil
}

func (r *renewal) steps(n certs.Node) []engine.Step {
	return []engine.Step{
		{
			Name:  "certificates",
			Check: func(context.Context) ([]string, error) { return engine.Differing(r.files), nil },
			Do:    func(context.Context, func(string)) error { return r.host.WriteFiles("certificates", r.files) },
		},
		{
			Name: "restart", Needs: []string{"certificates"},
			Check: func(context.Context) ([]string, error) { return r.toRestart(), nil },
			Do:    func(ctx context.Context, progress func(string)) error { return r.restartAll(ctx, n.Name, progress) },
		},
	}
}

// toRestart lists the static pods that read a renewed certificate only when they start: those that have it embedded in a
// kubeconfig. The API server, etcd and the kubelet read theirs from the files for each new connection; kubeadm advises to
// restart them too, for the sake of older versions.
func (r *renewal) toRestart() []string {
	out := []string{}
	for _, c := range []struct{ certificate, component string }{
		{"controller-manager.conf", "kube-controller-manager"},
		{"scheduler.conf", "kube-scheduler"},
	} {
		if slices.Contains(r.renewed, c.certificate) {
			out = append(out, c.component)
		}
	}
	return out
}

// restartAll tries all, one after the other.
func (r *renewal) restartAll(ctx context.Context, nodeName string, progress func(string)) error {
	var failed []string
	var errs []error
	for _, component := range r.toRestart() {
		err := r.restart(ctx, component, nodeName, func(message string) { progress(component + ": " + message) })
		if err != nil {
			failed, errs = append(failed, component), append(errs, fmt.Errorf("%s: %w", component, err))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fault.New("static-pod-not-restarted", "restart what has a new certificate", errors.Join(errs...),
		fmt.Sprintf("move the manifests of %s out of /etc/kubernetes/manifests, wait until the containers have gone, and move them back",
			strings.Join(failed, " and ")))
}

// node is which node this host is. Only control planes have the keys to sign with.
func (r *renewal) node() (n certs.Node, err error) {
	const op = "renew this host's certificates"
	if r.state == nil {
		n, err = kubeadmNode(r.root)
		if err != nil {
			return n, fault.New("not-a-node", op, err, "run it on a control plane that slipway or kubeadm made")
		}
		return n, nil
	}
	n = pkiNode(r.state.Spec.Node)
	switch {
	case !n.ControlPlane:
		return n, fault.New("authority-missing", op, errors.New("this is a worker, and the keys to sign with are on control planes"),
			"leave it to the kubelet, which renews its own while it reaches the API server; or reset this server and join it again")
	case !r.state.Done:
		return n, fault.New("node-unfinished", op, errors.New("it is not quite a node yet, and may still get the first ones"),
			"run the same `slipway init` or `slipway join` again, which completes it")
	}
	return n, nil
}

// pki is what the certificates say of the cluster. It is asked what it is only if the host does not know, and need not
// answer: it cannot, once certificates have expired. What the present ones say is kept anyhow.
func (r *renewal) pki(ctx context.Context) (certs.Cluster, error) {
	if r.state != nil {
		return fleet.PKI(r.state.Spec.Cluster), nil
	}
	c, err := r.cluster(ctx)
	if err == nil {
		return fleet.PKI(c), nil
	}
	if ctx.Err() != nil {
		return certs.Cluster{}, context.Cause(ctx)
	}
	r.warning = "the cluster did not say how it is configured, so the certificates keep the names that they had: " + err.Error()
	if _, missing := certs.Host(r.root)("pki/apiserver.crt"); missing != nil { // one made anew would lack names
		return certs.Cluster{}, errors.Join(asked(err), missing)
	}
	return certs.Cluster{Name: "kubernetes"}, nil
}

// askCluster asks as an administrator. The endpoint is the one that kubeadm has given him.
func askCluster(ctx context.Context, kubeconfig string) (bootstrap.Cluster, error) {
	client, err := Open(kubeconfig)
	if err != nil {
		return bootstrap.Cluster{}, err
	}
	c, err := readCluster(ctx, client)
	if err != nil || c.Endpoint != "" {
		return c, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return c, fmt.Errorf("read kubeconfig %q: %w", kubeconfig, err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		return c, fmt.Errorf("read kubeconfig %q: %w", kubeconfig, err)
	}
	c.Endpoint = strings.TrimSuffix(server.Host, "/")
	return c, nil
}
