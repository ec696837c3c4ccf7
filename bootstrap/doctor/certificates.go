package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/fleet"
	"slipway.dev/slipway/certs"
)

// kubeletServing is of the cluster's making where the kubelet asks for it; then it is not in the table of certificates.
const kubeletServing = certs.KubeletPKI + "/kubelet-server-current.pem"

func certificates(_ context.Context, h *Host) []Finding {
	now := time.Now()
	cluster, n := h.pki()
	list, err := certs.Check(h.Root, cluster, n, now)
	var out []Finding
	if err != nil {
		out = append(out, problem("not all certificates can be read").because(err).advise("look at the files it names"))
	}
	if h.exists(kubeletServing) {
		one, err := certs.Expiry(h.path(kubeletServing))
		if err != nil {
			return append(out, problem("the kubelet's serving certificate cannot be read").because(err))
		}
		list = append(list, certs.Status{Name: "kubelet-serving", Certificate: one[0], Remaining: one[0].NotAfter.Sub(now)})
	}
	if len(list) == 0 {
		return append(out, problem("there are no certificates on this host").
			advise("make this host a node again: `slipway reset`, then `slipway join`"))
	}
	for _, s := range list {
		if s.Name == "kubelet-serving" && h.selfSigned() {
			s.Findings = slices.DeleteFunc(s.Findings, func(f certs.Finding) bool {
				return f.Kind == certs.OtherAuthority || f.Kind == certs.HostsMissing
			})
		}
		out = append(out, judgeCertificate(s)...)
	}
	first := slices.MinFunc(list, func(a, b certs.Status) int { return a.NotAfter.Compare(b.NotAfter) })
	return append(out, ok("%d certificates; the first that ends is %s, on %s, in %d days",
		len(list), first.Name, first.NotAfter.Format(time.DateOnly), first.Remaining/(24*time.Hour)))
}

// pki is what certificates must say. Of a node that others made it is not known what names it was given.
func (h *Host) pki() (certs.Cluster, certs.Node) {
	s := h.node.saved
	if s == nil {
		return certs.Cluster{}, certs.Node{}
	}
	o := s.Spec.Node
	return fleet.PKI(s.Spec.Cluster), certs.Node{Name: o.Name, Addresses: o.Addresses(), ControlPlane: o.ControlPlane}
}

// selfSigned tells whether the kubelet signs its serving certificate itself, as kubeadm lets it.
func (h *Host) selfSigned() bool {
	s := h.node.saved
	return s == nil || s.Spec.Node.Serving == bootstrap.ServingSelfSigned
}

func judgeCertificate(s certs.Status) []Finding {
	var out []Finding
	for _, f := range s.Findings {
		what := fmt.Sprintf("certificate %s (%s): %s", s.Name, s.Path, f.Kind)
		one := problem("%s", what)
		if f.Kind == certs.ExpiresSoon || f.Kind == certs.KeyExposed {
			one = warning("%s", what)
		}
		out = append(out, one.why(f.Detail).advise("%s", certificateAdvice(s, f.Kind)))
	}
	return out
}

func certificateAdvice(s certs.Status, kind certs.FindingKind) string {
	switch {
	case kind == certs.KeyExposed:
		return "let only root read it: `chmod 600` the file that is named"
	case kind == certs.NotYetValid:
		return "set the clock, and let NTP keep it"
	case s.External:
		return "have it renewed by whoever runs etcd, and put it there: it is not the cluster's own"
	case s.Authority == "":
		return "put the right files of the authority there: all that it signs depends on them"
	case strings.HasPrefix(s.Name, "kubelet-") && kind == certs.ExpiresSoon:
		return "look at `journalctl -u kubelet`: it renews that certificate by itself, and should have"
	case s.Name == "kubelet-client":
		return "make this host a node again: `slipway reset`, then `slipway join`"
	}
	return fmt.Sprintf("renew it: `slipway certs renew %s` on a control plane", s.Name)
}
