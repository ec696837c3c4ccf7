package localcluster

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestLeadsTo: a Service is right about a pod that is ready when it says so, with the pod's own address.
func TestLeadsTo(t *testing.T) {
	yes, no := true, false
	p := corev1.Pod{Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.0.7"}, {IP: "fd00::7"}}}}
	p.UID = "one"
	for _, tt := range []struct {
		name    string
		pod     types.UID
		address string
		ready   *bool
		want    bool
	}{
		{"as it is", "one", "10.244.0.7", &yes, true},
		{"its other address", "one", "fd00::7", nil, true},
		{"the address of before", "one", "10.244.0.3", &yes, false},
		{"not ready yet", "one", "10.244.0.7", &no, false},
		{"another pod", "two", "10.244.0.3", &no, true},
	} {
		e := discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{tt.address}, Conditions: discoveryv1.EndpointConditions{Ready: tt.ready},
			TargetRef: &corev1.ObjectReference{UID: tt.pod},
		}, {Addresses: []string{"192.0.2.1"}}}}
		if got := leadsTo(e, p); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
