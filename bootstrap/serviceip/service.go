package serviceip

import (
	"encoding/json"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Class is what a Service may name in spec.loadBalancerClass to be served by this controller and no other.
const Class = "slipway.dev/load-balancer"

// slim leaves of a Service what is needed of it.
func slim(obj any) (any, error) {
	s, ok := obj.(*corev1.Service)
	if !ok {
		return obj, nil
	}
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion, CreationTimestamp: s.CreationTimestamp,
		},
		Spec: corev1.ServiceSpec{
			Type: s.Spec.Type, LoadBalancerClass: s.Spec.LoadBalancerClass, LoadBalancerIP: s.Spec.LoadBalancerIP,
		},
		Status: corev1.ServiceStatus{LoadBalancer: s.Status.LoadBalancer},
	}, nil
}

func isLoadBalancer(s *corev1.Service) bool { return s.Spec.Type == corev1.ServiceTypeLoadBalancer }

// isOurs tells whether the Service is to have an address from here.
func isOurs(s *corev1.Service) bool {
	return isLoadBalancer(s) && ptr.Deref(s.Spec.LoadBalancerClass, Class) == Class
}

// wants is the address that a Service asks for, or zero.
func wants(s *corev1.Service) (netip.Addr, error) {
	if s.Spec.LoadBalancerIP == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(s.Spec.LoadBalancerIP)
}

// has is the address that the Service's status says, or zero.
func has(s *corev1.Service) netip.Addr {
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil {
			return a
		}
	}
	return netip.Addr{}
}

// says tells whether the status is what it would be made.
func says(s *corev1.Service, a netip.Addr) bool {
	in := s.Status.LoadBalancer.Ingress
	if !a.IsValid() {
		return len(in) == 0
	}
	return len(in) == 1 && in[0].IP == a.String() && in[0].Hostname == "" && ptr.Deref(in[0].IPMode, "") == corev1.LoadBalancerIPModeVIP
}

// patch makes the status of this very version of the Service say the address, or none: what another writer has changed since, or
// made anew under the same name, is left alone.
func patch(s *corev1.Service, a netip.Addr) ([]byte, error) {
	in := []corev1.LoadBalancerIngress{}
	if a.IsValid() {
		in = append(in, corev1.LoadBalancerIngress{IP: a.String(), IPMode: ptr.To(corev1.LoadBalancerIPModeVIP)})
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": s.UID, "resourceVersion": s.ResourceVersion},
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": in}},
	})
}
