package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

// CheckCertificates says how it is with each certificate of this host, and fails with a certificates-unfit for each that
// has expired or is wrong. That one expires soon is only a finding.
func CheckCertificates(now time.Time) ([]certs.Status, error) {
	s, err := load()
	if err != nil {
		return nil, needRoot("check this host's certificates", err)
	}
	return checkCertificates("/", s, now)
}

// checkCertificates compares names and addresses only where Slipway made the node: kubeadm issues fewer.
func checkCertificates(root string, s *state, now time.Time) ([]certs.Status, error) {
	const op = "check this host's certificates"
	var c certs.Cluster
	var n certs.Node
	selfSigned := s == nil // as kubeadm's kubelets do
	if s != nil {
		c, n = fleet.PKI(s.Spec.Cluster), pkiNode(s.Spec.Node)
		selfSigned = s.Spec.Node.Serving == bootstrap.ServingSelfSigned
	}
	list, err := certs.Check(root, c, n, now)
	if err != nil {
		return list, needRoot(op, err)
	}
	if len(list) == 0 {
		return nil, fault.New("not-a-node", op, errors.New("it has none"), "run it on a node")
	}
	var errs []error
	for i, one := range list {
		if selfSigned && one.Name == "kubelet-serving" {
			list[i] = ownedByKubelet(one)
		}
		errs = append(errs, unfit(list[i]))
	}
	return list, errors.Join(errs...)
}

func needRoot(op string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fault.New("not-root", op, err, "run it as root, for example with sudo")
	}
	return err
}

func pkiNode(n bootstrap.Node) certs.Node {
	return certs.Node{Name: n.Name, Addresses: n.Addresses(), ControlPlane: n.ControlPlane}
}

// ownedByKubelet is a certificate that the kubelet has signed itself, for the names that it knew.
func ownedByKubelet(s certs.Status) certs.Status {
	isOwn := func(f certs.Finding) bool { return f.Kind == certs.OtherAuthority }
	if slices.ContainsFunc(s.Findings, isOwn) {
		s.Authority = ""
		s.Findings = slices.DeleteFunc(s.Findings, func(f certs.Finding) bool { return isOwn(f) || f.Kind == certs.HostsMissing })
	}
	return s
}

func unfit(s certs.Status) error {
	var why []string
	for _, f := range s.Findings {
		if f.Kind != certs.ExpiresSoon {
			why = append(why, fmt.Sprintf("%s (%s)", f.Kind, f.Detail))
		}
	}
	if len(why) == 0 {
		return nil
	}
	return fault.New("certificates-unfit", fmt.Sprintf("use certificate %q", s.Name), errors.New(strings.Join(why, "; ")), advice(s))
}

func advice(s certs.Status) string {
	has := func(kinds ...certs.FindingKind) bool {
		return slices.ContainsFunc(s.Findings, func(f certs.Finding) bool { return slices.Contains(kinds, f.Kind) })
	}
	switch {
	case has(certs.NotYetValid):
		return "set this host's clock"
	case s.External && !has(certs.KeyExposed):
		return "have it renewed by whoever runs etcd, and put it there on each control plane: it is not the cluster's own"
	case slices.Contains([]string{certs.ClusterCA, certs.EtcdCA, certs.FrontProxyCA}, s.Name):
		return "put the right files of the authority there: all that it signs depends on them"
	case has(certs.KeyExposed) && len(s.Findings) == 1:
		return "take others' rights on the file with the key away (chmod 600)"
	case s.Name == "kubelet-client":
		return "look at the kubelet's log: it renews this one itself while it reaches the API server"
	case has(certs.Unreadable):
		return fmt.Sprintf("move %s away, then `slipway certs renew %s` makes it anew", s.Path, s.Name)
	}
	return fmt.Sprintf("renew it: `slipway certs renew %s` on a control plane", s.Name)
}

// keyOf reads a key, or makes one.
func keyOf(text string) (invite.Key, error) {
	if text == "" {
		return invite.NewKey()
	}
	return invite.ParseKey(text)
}

// UploadCertificates lets other control planes join for two hours: it puts what they share into the cluster, encrypted with
// the key, or with a new one if that is empty.
func UploadCertificates(ctx context.Context, c kubernetes.Interface, certificateKey string) (invite.Key, error) {
	key, err := keyOf(certificateKey)
	if err != nil {
		return invite.Key{}, err
	}
	return key, uploadCertificates(ctx, c, key, certs.Host("/"))
}

func uploadCertificates(ctx context.Context, c kubernetes.Interface, key invite.Key, read certs.Read) error {
	k, err := readKubeadm(ctx, c)
	if err != nil && !apierrors.IsNotFound(err) {
		return asked(fmt.Errorf("ask the cluster for its configuration: %w", err))
	}
	external := k.Etcd.External
	err = invite.UploadCertificates(ctx, c, key, len(external.Endpoints) > 0, external.reading(read))
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New("authority-missing", "share the control planes' certificates", err, "run it on a control plane")
	}
	return asked(needRoot("share the control planes' certificates", err))
}
