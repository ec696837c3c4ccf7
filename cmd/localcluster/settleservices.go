package localcluster

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// madeByKubernetes selects the EndpointSlices that the controller manager keeps; others are their makers' own affair.
const madeByKubernetes = discoveryv1.LabelManagedBy + "=endpointslice-controller.k8s.io"

// misled gives the Services that do not lead to pods which are back: until the controller manager has looked at those, their addresses
// are what they were before, and nobody's or somebody else's by now.
func (s *settling) misled(ctx context.Context) ([]string, error) {
	pods, err := s.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	endpoints, err := s.client.DiscoveryV1().EndpointSlices(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: madeByKubernetes})
	if err != nil {
		return nil, err
	}
	services, err := s.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	kept := map[string]bool{} // of others the controller manager lets the slices be what they are
	for _, one := range services.Items {
		kept[one.Namespace+"/"+one.Name] = len(one.Spec.Selector) > 0 && one.Spec.Type != corev1.ServiceTypeExternalName
	}
	var out []string
	for _, e := range endpoints.Items {
		name := e.Namespace + "/" + e.Labels[discoveryv1.LabelServiceName]
		if !kept[name] {
			continue
		}
		if slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return s.isBack(p) && !leadsTo(e, p) }) {
			out = append(out, "service "+name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// leadsTo tells whether what a slice says of a pod that is ready, if anything, is right.
func leadsTo(e discoveryv1.EndpointSlice, p corev1.Pod) bool {
	return !slices.ContainsFunc(e.Endpoints, func(one discoveryv1.Endpoint) bool {
		if one.TargetRef == nil || one.TargetRef.UID != p.UID {
			return false
		}
		own := slices.ContainsFunc(p.Status.PodIPs, func(ip corev1.PodIP) bool { return slices.Contains(one.Addresses, ip.IP) })
		return !own || !ptr.Deref(one.Conditions.Ready, true)
	})
}
